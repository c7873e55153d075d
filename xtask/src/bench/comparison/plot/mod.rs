//! Plots as SVG, readable on a light and on a dark page.

mod bars;
mod canvas;
mod figures;
mod lines;

pub(super) use self::figures::{FILES, draw};
