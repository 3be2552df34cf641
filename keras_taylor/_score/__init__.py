"""Score: one number per channel from what was recorded, and the truth to compare it with."""
