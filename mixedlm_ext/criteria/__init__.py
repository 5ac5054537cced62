"""What is minimized: penalized least squares at one theta, and the criteria made of it."""
