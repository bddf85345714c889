"""What people work with."""
