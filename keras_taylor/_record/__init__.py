"""Record: statistics of every channel, example by example."""
