"""How much is in a package, from the text a catalogue has for it.

Belongs here: reading sizes. Not here: what is made of them (`up_sell.py`).
"""

import ibis
import ibis.expr.types as ir

MEASURES: dict[str, dict[str, float]] = {
    "g": {
        "oz|ounces?": 28.349523125,
        "lbs?|pounds?": 453.59237,
        "mg|毫克": 0.001,
        "g|gr|grams?|克": 1.0,
        "kgs?|千克|公斤": 1000.0,
        "斤": 500.0,
    },
    "ml": {
        r"fl\.? ?oz": 29.5735295625,
        "pt|pints?": 473.176473,
        "qt|quarts?": 946.352946,
        "gal?|gallons?": 3785.411784,
        "ml|毫升": 1.0,
        "cl": 10.0,
        "lt?|ltr|lit(?:er|re)s?|升": 1000.0,
    },
    "pieces": {
        "ct|counts?|pcs?|pieces?|pks?|packs?|rolls?|loads?|片|个|包|支|粒|卷|抽": 1.0,
        "dz|dozens?": 12.0,
    },
}
"""Units by what they measure: how they are written, and how many grams, millilitres or pieces they are."""

_COUNT = r"(?:ct|pks?|packs?|包)"
_UNIT = "|".join(words for units in MEASURES.values() for words in units)
# What comes after a unit must not go on as a word: 5 gallons are not 5 g.
_SIZE = (
    rf"^(?:(\d+)\s*({_COUNT})?\s*[/x*×]\s*)?(\d+\.?\d*|\.\d+)(?:\s+(\d)\s*/\s*([1-9]\d*))?"
    rf"\s*({_UNIT})(?:\s*[/x*×]\s*(\d+)\s*{_COUNT})?(?:[^a-z0-9].*)?$"
)
_PARTS = ("packs", "pack_word", "number", "numerator", "denominator", "unit", "packs_after")
_ATTRIBUTE = r'"package_size"\s*:\s*"?([^",}]+)'


def package_size_of(attributes: ir.StringValue) -> ir.StringValue:
    """The text of `package_size` in the attributes of a product, null without."""
    return attributes.re_extract(_ATTRIBUTE, 1).strip().nullif("")


def package_sizes(texts: ir.Table) -> ir.Table:
    """What the texts of package sizes say.

    Read are a number and a unit ("16 OZ", "2 lt", "500 g", "1.5升"), halves and such ("1/2 GAL", "10 1/2 OZ"), and packs
    of several ("6 PK/12 OZ", "24/12 OZ", "4 x 125 g", "20 OZ/4 PK"), whose contents count together. Ounces are those of
    mass unless they are called fluid.

    Args:
        texts: package_size, as `package_size_of` gives it; each text is read once.

    Returns:
        One row per text that can be read: package_size (the text), measure (a key of `MEASURES`), size (above 0, grams,
        millilitres or pieces).
    """
    distinct = texts.filter(texts.package_size.notnull()).select("package_size").distinct()
    text = distinct.package_size.lower()
    found = {name: text.re_extract(_SIZE, place).nullif("") for place, name in enumerate(_PARTS, 1)}
    parts = distinct.select("package_size", **found).filter(found["unit"].notnull())
    numbers = ("packs", "number", "numerator", "denominator", "packs_after")
    packs, number, numerator, denominator, after = (parts[name].try_cast("float64") for name in numbers)
    whole = packs.fill_null(1.0) * after.fill_null(1.0) * (number + (numerator / denominator).fill_null(0.0))
    # "1/2 gal" is half of one, "2/12 oz" are two of twelve.
    is_fraction = ((packs == 1) & parts.pack_word.isnull()).fill_null(False)
    amount = is_fraction.ifelse(1 / number.nullif(0), whole)
    units = [(words, measure, factor) for measure, named in MEASURES.items() for words, factor in named.items()]
    hits = [parts.unit.re_search(f"^(?:{words})$") for words, _, _ in units]
    factors = [ibis.literal(factor, "float64") for _, _, factor in units]
    sized = parts.select(
        "package_size",
        measure=ibis.cases(*zip(hits, [measure for _, measure, _ in units], strict=True)),
        size=amount * ibis.cases(*zip(hits, factors, strict=True)),
    )
    return sized.filter(sized["size"] > 0)
