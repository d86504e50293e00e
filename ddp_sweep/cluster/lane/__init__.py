"""One trial after another: what comes next, on which workers, under Ray Tune."""
