"""Reading orders by rule, from boxes alone: in rows, by recursive cuts, and from each panel to the nearest."""

from ..model.rules_comicpage import nearest_order, raster_order, xy_cut_order

__all__ = ["nearest_order", "raster_order", "xy_cut_order"]
