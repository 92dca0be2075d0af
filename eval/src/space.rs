//! Embedding spaces: semantic and style, and [`PerSpace`], a pair with one value for each.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// An embedding space in which diversity is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Semantic embeddings: the meaning of a text.
    Semantic,
    /// Style embeddings: the way a text is written.
    Style,
}

impl Space {
    /// Both spaces, in the order of the report.
    pub const ALL: [Self; 2] = [Self::Semantic, Self::Style];

    /// The name in reports, files and flags; also the name of the space's `mean_distance` column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Semantic => "semantic",
            Self::Style => "style",
        }
    }
}

/// One value for each embedding space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerSpace<T> {
    /// The value of the semantic space.
    pub semantic: T,
    /// The value of the style space.
    pub style: T,
}

impl<T> PerSpace<T> {
    /// Computes the value of each space.
    pub fn from_fn(mut value: impl FnMut(Space) -> T) -> Self {
        Self {
            semantic: value(Space::Semantic),
            style: value(Space::Style),
        }
    }

    /// The value of one space.
    pub const fn get(&self, space: Space) -> &T {
        match space {
            Space::Semantic => &self.semantic,
            Space::Style => &self.style,
        }
    }

    /// A mutable reference to the value of one space.
    pub const fn get_mut(&mut self, space: Space) -> &mut T {
        match space {
            Space::Semantic => &mut self.semantic,
            Space::Style => &mut self.style,
        }
    }

    /// Both values, in the order of [`Space::ALL`].
    pub const fn both(&self) -> [&T; 2] {
        [&self.semantic, &self.style]
    }

    /// References to both values.
    pub const fn as_ref(&self) -> PerSpace<&T> {
        PerSpace {
            semantic: &self.semantic,
            style: &self.style,
        }
    }

    /// Applies a function to both values.
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> PerSpace<U> {
        PerSpace {
            semantic: function(self.semantic),
            style: function(self.style),
        }
    }
}

impl<T: Serialize> Serialize for PerSpace<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        for space in Space::ALL {
            map.serialize_entry(space.name(), self.get(space))?;
        }
        map.end()
    }
}
