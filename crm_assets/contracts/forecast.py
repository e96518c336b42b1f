"""Contract of the sales to come.

Belongs here: the forecast mart. Not here: how it is computed (`mining/forecast.py`), past sales (`behaviour.py`).
"""

from crm_assets.contracts.behaviour import DIMENSIONS
from crm_assets.contracts.model import Column, Shape, Table

REVENUE, ORDERS = "revenue", "orders"
MEASURES = (REVENUE, ORDERS)

WEEK, MONTH = "week", "month"
GRAINS = (WEEK, MONTH)

SALES_FORECAST = Table(
    name="sales_forecast",
    description="Revenue and orders of the weeks and months to come, in all and by category, region and channel.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "series", "period"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("series", "string", "What is forecast, in words.", required=True),
        Column("period", "date", "First day of the week, a Monday, or of the month.", required=True),
        Column("forecast", "float64", "Expected value; revenue in workspace currency.", required=True),
        Column("low", "float64", "Lower end of the 80% interval.", required=True),
        Column("high", "float64", "Upper end of it.", required=True),
        Column("measure", "string", "Revenue net of returns, or orders.", required=True, allowed=MEASURES),
        Column("grain", "string", "Length of the period.", required=True, allowed=GRAINS),
        Column("dimension", "string", "By what sales are told apart.", required=True, allowed=DIMENSIONS),
        Column("value", "string", "Which one: all for the total, other for the small ones together.", required=True),
        Column("method", "string", "What forecasts it.", required=True),
        Column("mase", "float64", "Its mean absolute scaled error on earlier periods; null where there are too few."),
        Column("model_id", "string", "Model: its name and the month it was chosen for.", required=True),
    ),
    notes="Periods begin after the last complete one. The parts of a dimension add up to the total. Orders are not told "
    "apart by category, since one may hold several. mase under 1 beats repeating the last period, or the same period of "
    "last year once there are two years. Without enough history to compare, the last period is repeated and mase is null.",
)
