"""What the example library is made from: the texts, the pictures, and the writers of each format."""
