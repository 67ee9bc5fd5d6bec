"""What should this viewer watch next? Four stages, one request."""
