//! Does each state come of what it should?
