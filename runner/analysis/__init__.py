"""Analysis: from tables of recorded runs to tables that compare them."""
