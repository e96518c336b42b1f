r"""What an Ibis expression means on Spark: the same as on DuckDB.

Belongs here: every difference in meaning between the two engines, settled once. Not here: sessions and files
(`spark_engine.py`), moving rows (`spark_backend.py`).

DuckDB is the measure, since the code is written and tested on it. What cannot be given the same meaning is refused, so
that an engine never answers differently in silence:

- Whole numbers: a float becomes the nearest one, halves to even; a decimal the nearest one, halves away from zero.
- Rounding floats, and casting them to decimals, goes by the binary value and not by the digits it is printed with.
- Quotients of decimals are floats.
- Nulls sort last. NaN is not null. A count where nothing holds is 0, a list where nothing holds is null.
- Distinct rows that are sorted are as distinct as others.
- Ordered aggregates take the order they are given; without an order, first and last are refused.
- Lower case is one letter for one letter; upper case, which Spark spells out, is refused.
- White space around text is ASCII, and no letter: sqlglot writes a form feed so that Spark reads an f.
- White space in patterns is ASCII without the vertical tab. Patterns write groups as ``\1``.
- JSON keeps fields that are null.
- Hashes differ; a digest, such as MD5, does not.

Sums of decimals, integer division, the difference of dates, medians of integers and floats, comparing text and null keys
of joins mean the same on both already.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ibis.common.exceptions as com
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.base import NULL, SQLGlotCompiler
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from ibis.backends.sql.rewrites import Select
from ibis.common.patterns import replace

_UNKNOWN_ESCAPES = re.compile("([\a\b\f\v])")
_RE2_SPACE = r"\t\n\f\r "
_SPACE = re.compile(r"\\(.)|\[\^?\]?|\]", re.DOTALL)


@replace(Select)
def sort_after_distinct(_: Any) -> Any:
    """Sort distinct rows in a query around them: Spark knows no qualified names there.

    Ibis's own rewrite takes the columns of the filter into what must be distinct, and so gives rows twice.
    """
    if not (_.distinct and _.sort_keys):
        return _
    inner = _.copy(sort_keys=())
    fields = {name: ops.Field(inner, name) for name in inner.values}
    known = {value: fields[name] for name, value in inner.values.items()}
    keys = tuple(key.replace(known, filter=ops.Value) for key in _.sort_keys)
    return Select(inner, selections=fields, sort_keys=keys)


class SparkCompiler(PySparkCompiler):
    """From Ibis expressions to Spark SQL, with DuckDB's meaning."""

    __slots__ = ()

    post_rewrites = (sort_after_distinct,)
    SIMPLE_OPS: Mapping[Any, str] = {}
    """None besides the parent's, which would otherwise be put over the methods here."""

    # Numbers

    def visit_Cast(self, op: ops.Cast, *, arg: Any, to: dt.DataType) -> Any:
        """Cast as DuckDB rounds; JSON keeps null fields."""
        if to.is_json() and not op.arg.dtype.is_string():
            return self.f.anon.to_json(arg, self.f.anon.map("ignoreNullFields", "false"))
        return super().visit_Cast(op, arg=self._rounded(op.arg.dtype, to, arg), to=to)

    def visit_TryCast(self, op: ops.TryCast, *, arg: Any, to: dt.DataType) -> Any:
        """Cast as DuckDB rounds; null where the value is not of the type."""
        return super().visit_TryCast(op, arg=self._rounded(op.arg.dtype, to, arg), to=to)

    def visit_Round(self, op: ops.Round, *, arg: Any, digits: Any) -> Any:
        """Round the binary value, halves away from zero."""
        places = getattr(op.digits, "value", 0 if op.digits is None else None)
        if not op.arg.dtype.is_floating():
            return super().visit_Round(op, arg=arg, digits=digits)
        if places is None:
            raise com.UnsupportedOperationError(
                "rounding floats to a computed number of digits differs between engines"
            )
        return self.cast(self._nearest(arg, places), op.dtype)

    def visit_Divide(self, op: ops.Divide, *, left: Any, right: Any) -> Any:
        """Divide as floats, whatever the operands are."""
        both = [
            self.cast(side, dt.float64) if value.dtype.is_decimal() else side
            for value, side in ((op.left, left), (op.right, right))
        ]
        return self.binop(sge.Div, *both)

    def _rounded(self, source: dt.DataType, to: dt.DataType, arg: Any) -> Any:
        if source.is_floating() and to.is_integer():
            return self.f.anon.rint(arg)
        if source.is_decimal() and to.is_integer():
            return self.f.anon.round(arg, 0)
        if source.is_floating() and to.is_decimal():
            return self._nearest(arg, to.scale or 0)
        if source.is_floating() and to.is_string():
            raise com.UnsupportedOperationError(
                "floats are printed differently by engines; cast them to decimals first"
            )
        return arg

    def _nearest(self, arg: Any, places: int) -> Any:
        """A float rounded to decimal places; Spark rounds the printed digits, which are those of a half only in halves."""
        power = self.cast(sge.convert(10**places), dt.float64)
        whole = self.f.anon.round(sge.paren(sge.paren(arg, copy=False) * power), 0)
        return sge.paren(whole / power)

    # Nulls and aggregates

    def visit_Field(self, op: ops.Field, *, rel: Any, name: str) -> Any:
        """A column as it is."""
        return SQLGlotCompiler.visit_Field(self, op, rel=rel, name=name)

    def visit_IsNull(self, op: ops.IsNull, *, arg: Any) -> Any:
        """Whether a value is null; NaN is a value."""
        return SQLGlotCompiler.visit_IsNull(self, op, arg=arg)

    def visit_NotNull(self, op: ops.NotNull, *, arg: Any) -> Any:
        """Whether there is a value; NaN is one."""
        return SQLGlotCompiler.visit_NotNull(self, op, arg=arg)

    def visit_CountStar(self, op: ops.CountStar, *, arg: Any, where: Any) -> Any:
        """Count rows, 0 where the condition holds for none."""
        return super().visit_CountStar(op, arg=arg, where=None) if where is None else self.f.anon.count_if(where)

    def visit_Median(self, op: ops.Median, *, arg: Any, where: Any) -> Any:
        """The middle value, or the mean of the two in the middle."""
        return self.visit_Quantile(op, arg=arg, quantile=sge.convert(0.5), where=where)

    def visit_Quantile(self, op: Any, *, arg: Any, quantile: Any, where: Any) -> Any:
        """A quantile between values by linear interpolation."""
        if not (op.arg.dtype.is_integer() or op.arg.dtype.is_floating()):
            raise com.UnsupportedOperationError(f"quantiles of {op.arg.dtype} differ between engines; cast to float64")
        return self.agg.percentile(arg, quantile, where=where)

    def visit_First(self, op: ops.First, *, arg: Any, where: Any, order_by: Sequence[Any], include_null: bool) -> Any:
        """The first value in an order."""
        found = self._in_order(op, arg, where, order_by, include_null)
        return self._value(self.f.anon.get(found, 0))

    def visit_Last(self, op: ops.Last, *, arg: Any, where: Any, order_by: Sequence[Any], include_null: bool) -> Any:
        """The last value in an order."""
        found = self._in_order(op, arg, where, order_by, include_null)
        return self._value(self.f.anon.get(found, self.f.anon.size(found) - 1))

    def visit_ArrayCollect(
        self, op: ops.ArrayCollect, *, arg: Any, where: Any, order_by: Sequence[Any], include_null: bool, distinct: bool
    ) -> Any:
        """All values, in an order if one is given; null where there is none."""
        if order_by and not distinct:
            found = self._in_order(op, arg, where, order_by, include_null)
            one = sg.to_identifier("one")
            values = self.f.anon.transform(found, sge.Lambda(this=self._value(one), expressions=[one]))
        else:
            values = super().visit_ArrayCollect(
                op, arg=arg, where=where, order_by=order_by, include_null=include_null, distinct=distinct
            )
        return self.if_(self.f.anon.size(values.copy()).eq(0), NULL, values)

    def _in_order(self, op: Any, arg: Any, where: Any, order_by: Sequence[Any], include_null: bool) -> Any:
        """The values with their sort keys, sorted."""
        if not order_by:
            raise com.UnsupportedOperationError(f"{type(op).__name__} without order_by depends on the engine")
        keys = {f"k{number}": key.this for number, key in enumerate(order_by)}
        row = sge.Struct.from_arg_list([value.as_(name) for name, value in (keys | {"v": arg}).items()])
        conditions = [*([] if include_null else [arg.is_(sg.not_(NULL))]), *([] if where is None else [where])]
        rows = self.f.anon.collect_list(self.if_(sg.and_(*conditions), row, NULL) if conditions else row)
        left, right = sg.to_identifier("here"), sg.to_identifier("there")
        cases = [
            case
            for name, key in zip(keys, order_by, strict=True)
            for case in _comparison(_field(left, name), _field(right, name), key)
        ]
        compared = sge.Case(ifs=[self.if_(*case) for case in cases], default=sge.convert(0))
        return self.f.anon.array_sort(rows, sge.Lambda(this=compared, expressions=[left, right]))

    @staticmethod
    def _value(row: Any) -> Any:
        return _field(row, "v")

    # Text

    def visit_NonNullLiteral(self, op: ops.Literal, *, value: Any, dtype: dt.DataType) -> Any:
        """A literal; text with letters that sqlglot writes as escapes which Spark does not know is put together."""
        if dtype.is_string() and _UNKNOWN_ESCAPES.search(value):
            return _text(self, value)
        if dtype.is_floating():
            return self.visit_DefaultLiteral(op, value=value, dtype=dtype)
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def visit_Strip(self, op: ops.Strip, *, arg: Any) -> Any:
        """Text without ASCII white space around it."""
        return self.f.anon.btrim(arg, _text(self, string.whitespace))

    def visit_LStrip(self, op: ops.LStrip, *, arg: Any) -> Any:
        """Text without ASCII white space before it."""
        return sge.Trim(this=arg, expression=_text(self, string.whitespace), position="LEADING")

    def visit_RStrip(self, op: ops.RStrip, *, arg: Any) -> Any:
        """Text without ASCII white space after it."""
        return sge.Trim(this=arg, expression=_text(self, string.whitespace), position="TRAILING")

    def visit_Lowercase(self, op: ops.Lowercase, *, arg: Any) -> Any:
        """Lower case, one letter for one: Java's depends on a letter's place in the word, and spells one letter out."""
        return self.f.lower(self.f.translate(arg, "İΣ", "iσ"))

    def visit_Uppercase(self, op: ops.Uppercase, *, arg: Any) -> Any:
        """Refused."""
        raise com.UnsupportedOperationError("upper case differs between engines, as of 'straße'; use lower case")

    def visit_RegexReplace(self, op: ops.RegexReplace, *, arg: Any, pattern: Any, replacement: Any) -> Any:
        """Replace every match."""
        return self.f.anon.regexp_replace(arg, *_pattern(op.pattern), _replacement(op.replacement))

    def visit_RegexSearch(self, op: ops.RegexSearch, *, arg: Any, pattern: Any) -> Any:
        """Whether a pattern is found anywhere."""
        return self.f.anon.regexp_like(arg, *_pattern(op.pattern))

    def visit_Hash(self, op: ops.Hash, *, arg: Any) -> Any:
        """Refused."""
        raise com.UnsupportedOperationError("hashes differ between engines; use a digest, such as MD5")

    # Functions that Ibis has no name for (`functions.py`)

    def visit_ScalarUDF(self, op: ops.ScalarUDF, **arguments: Any) -> Any:
        """Call a function of the engine."""
        known = _FUNCTIONS.get(op.__func_name__)
        if known is None:
            raise com.UnsupportedOperationError(f"Spark is not given a function {op.__func_name__}")
        return known(self, op, **arguments)


def _time_zone(compiler: SparkCompiler, op: Any, zone: Any, **moment: Any) -> Any:
    """From local time to UTC or back; a moment is a time in UTC here, so both sides are without a time zone."""
    (value,) = moment.values()
    ends = (sge.convert("UTC"), zone) if op.args[1].dtype.timezone else (zone, sge.convert("UTC"))
    return compiler.f.anon.convert_timezone(*ends, value)


def _failure(compiler: SparkCompiler, op: Any, message: Any) -> Any:
    return compiler.f.anon.raise_error(message)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"timezone": _time_zone, "error": _failure}


def _text(compiler: SparkCompiler, value: str) -> Any:
    parts = [part for part in _UNKNOWN_ESCAPES.split(value) if part]
    return compiler.f.concat(
        *(compiler.f.anon.char(ord(part)) if _UNKNOWN_ESCAPES.fullmatch(part) else sge.convert(part) for part in parts)
    )


def _field(row: Any, name: str) -> Any:
    return sge.Dot(this=row.copy(), expression=sg.to_identifier(name))


def _comparison(left: Any, right: Any, key: Any) -> list[tuple[Any, Any]]:
    """Conditions and what they say of the order of two rows: before (-1) or after (1)."""
    null_first = -1 if key.args.get("nulls_first") else 1
    smaller_first = 1 if key.args.get("desc") else -1
    return [
        (sg.and_(left.is_(NULL), right.is_(sg.not_(NULL))), sge.convert(null_first)),
        (sg.and_(left.is_(sg.not_(NULL)), right.is_(NULL)), sge.convert(-null_first)),
        (left < right, sge.convert(smaller_first)),
        (left > right, sge.convert(-smaller_first)),
    ]


def _pattern(pattern: Any) -> tuple[Any]:
    """A pattern of RE2 as one of Java, which differ in white space."""
    in_class = False

    def java(match: re.Match[str]) -> str:
        nonlocal in_class
        if match[1] == "s":
            return _RE2_SPACE if in_class else f"[{_RE2_SPACE}]"
        if match[1] == "S":
            raise com.UnsupportedOperationError(r"\S in a pattern differs between engines; name the characters")
        if match[1] is None:
            in_class = match[0] != "]"
        return match[0]

    return (sge.convert(_SPACE.sub(java, _literal(pattern))),)


def _replacement(replacement: Any) -> Any:
    """A replacement as Java writes it: groups by a dollar sign."""
    return sge.convert(re.sub(r"\\(\d)", r"$\1", _literal(replacement).replace("$", r"\$")))


def _literal(value: Any) -> str:
    if not isinstance(value, ops.Literal):
        raise com.UnsupportedOperationError("patterns and their replacements must be literals")
    return str(value.value)
