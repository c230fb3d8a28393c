//! Text to batches: knows files, knows no GPU.
