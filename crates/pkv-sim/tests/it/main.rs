//! The simulator's own tests: it must do what it says to wrong stores, and no more than that to right ones.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod linear;
#[cfg(test)]
mod mini;
#[cfg(test)]
mod model;
#[cfg(test)]
mod names;
#[cfg(test)]
mod stores;
