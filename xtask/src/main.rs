//! Runs the tasks of this workspace.
fn main() {}
