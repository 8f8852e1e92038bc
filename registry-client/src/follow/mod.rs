//! The version behind a name, in hand: fetched, loaded, checked, and replaced when the name moves on.

#[expect(dead_code, reason = "what does as it says comes next")]
mod state;
