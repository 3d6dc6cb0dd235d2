"""What all rooms of jds share; it imports nothing of jds."""
