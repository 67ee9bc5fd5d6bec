"""The models: towers, item-to-item tables, ranker and blends, and the bundle made of them."""
