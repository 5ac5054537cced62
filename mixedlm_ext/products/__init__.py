"""Cross-products of rows: where they live, how they are summed, and what they become elsewhere."""
