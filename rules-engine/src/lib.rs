//! The decisions of Triggerfish: patterns, conditions, transforms, sequences, retries.
