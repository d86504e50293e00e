"""What people and programs read: first a view object, then a renderer that only draws it."""
