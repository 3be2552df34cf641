"""Text, figures, files and run folders; knows no network."""
