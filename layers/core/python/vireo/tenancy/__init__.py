"""The life of a tenant: exported whole, deleted whole."""
