"""Mappings: what is wrong with one is said so that its author can put it right."""

import pytest

from crm_assets.sources.mapping import MappingError, nearest, read_source, read_sources

GOOD = """
source: shop
timezone: Europe/London
tables:
  customers:
    files: "*.csv"
    columns:
      customer_id: id
      gender: {column: sex, values: {"1": male}}
      city: {value: York}
      birth_date: {column: born, format: "%d/%m/%Y"}
      full_name: {sql: "first || last"}
"""


@pytest.fixture
def read(tmp_path):
    def written(text, name="shop.yaml"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return read_source(path)

    return written


def test_the_short_and_the_long_form_mean_the_same(read):
    columns = read(GOOD).tables["customers"][0].columns
    assert (
        columns["customer_id"]
        == read(GOOD.replace("id: id", "id: {column: id}")).tables["customers"][0].columns["customer_id"]
    )
    assert columns["customer_id"].columns == ("id",)
    assert columns["city"].value == "York"
    assert columns["full_name"].columns == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("customers:", "customer:", "shop.yaml: tables: there is no table 'customer'; did you mean 'customers'?"),
        ("city:", "citi:", "shop.yaml: tables: customers has no column 'citi'; did you mean 'city'?"),
        ("customer_id: id", "region: id", "customers needs a mapping for 'customer_id': The CRM's own identifier."),
        ("{value: York}", "{value: York, sql: town}", "tables.customers.columns.city: name exactly one of column, sql"),
        ("{value: York}", "{}", "name exactly one of column, sql, row_number and value"),
        ("{value: York}", '{value: York, format: "%Y"}', "format and values go with column"),
        ("{value: York}", "{colum: town}", "tables.customers.columns.city.colum: Extra inputs are not permitted"),
        (
            "Europe/London",
            "Europe/Londn",
            "timezone: 'Europe/Londn' is not an IANA time zone; did you mean 'Europe/London'?",
        ),
        ("source: shop", "source: My Shop", "source: use lower-case letters, digits and single - or _"),
        ("source: shop", "source: my--shop", "source: use lower-case letters, digits and single - or _"),
        ("source: shop", "source: store", "shop.yaml: source is 'store'; name the file store.yaml"),
        ("source: shop", "", "shop.yaml: source: Field required"),
        ('files: "*.csv"', "csv: {delimiter: ;;}", "tables.customers.csv.delimiter"),
        ("tables:", "tables: [", "shop.yaml is not YAML"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_where_and_what_instead(read, old, new, message):
    assert old in GOOD
    with pytest.raises(MappingError) as error:
        read(GOOD.replace(old, new, 1))
    assert message in str(error.value)


def test_several_mistakes_are_all_named(read):
    with pytest.raises(MappingError) as error:
        read(GOOD.replace("Europe/London", "Mars").replace("source: shop", "source: S H"))
    assert {"shop.yaml: source", "shop.yaml: timezone"} <= {
        line.rsplit(": ", 1)[0].split(": use")[0].split(": 'Mars")[0] for line in str(error.value).splitlines()
    }


def test_an_empty_file_is_no_mapping(read):
    with pytest.raises(MappingError, match=r"shop\.yaml"):
        read("")


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_bytes(GOOD.replace("York", "Köln").encode("latin-1"))
    with pytest.raises(MappingError, match=r"shop\.yaml"):
        read_source(path)


def test_the_bundled_sources_are_valid(tmp_path):
    sources = read_sources(tmp_path / "none")
    assert "complete_journey" in sources
    assert all(name == source.source for name, source in sources.items())


def test_the_user_s_own_source_joins_the_bundled_ones_and_replaces_one_of_the_same_name(tmp_path):
    (tmp_path / "shop.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "complete_journey.yaml").write_text(GOOD.replace("source: shop", "source: complete_journey"), "utf-8")
    sources = read_sources(tmp_path)
    assert sources["shop"].timezone == "Europe/London"
    assert list(sources["complete_journey"].tables) == ["customers"]


def test_a_name_like_no_other_gives_no_hint():
    assert nearest("zzz", ["customers", "products"]) == ""
    assert nearest("product", ["customers", "products"]) == "; did you mean 'products'?"


def test_a_mapping_extends_a_bundled_one_and_changes_what_it_names(tmp_path):
    (tmp_path / "grocer.yaml").write_text(
        "source: grocer\nextends: complete_journey\ntimezone: Asia/Shanghai\n"
        "tables: {products: {files: items.csv, columns: {product_id: sku}}}\n",
        "utf-8",
    )
    sources = read_sources(tmp_path)
    bundled, own = sources["complete_journey"], sources["grocer"]
    assert own.timezone == "Asia/Shanghai"
    assert own.tables["transactions"] == bundled.tables["transactions"]
    assert own.tables["products"][0].files == ("items.csv",)
    assert bundled.timezone == "UTC"


def test_a_mapping_that_extends_an_unknown_source_is_told_the_nearest(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("source: mine\nextends: complete_journy\n", "utf-8")
    with pytest.raises(MappingError, match="no bundled source 'complete_journy'; did you mean 'complete_journey'"):
        read_source(path)
