//! Numbered lists whose references cannot dangle: a [`Ref`] is only made for an entry that is there.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Index;

/// The entries of one kind, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<T>(Vec<T>);

/// A place in a [`Table`].
pub struct Ref<T> {
    index: usize,
    entry: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries with their places, in order.
    pub fn entries(&self) -> impl Iterator<Item = (Ref<T>, &T)> {
        self.0.iter().enumerate().map(|(index, entry)| (Ref { index, entry: PhantomData }, entry))
    }

    /// The entries, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The place of the first entry for which `is_it` holds.
    pub(crate) fn find(&self, is_it: impl FnMut(&T) -> bool) -> Option<Ref<T>> {
        self.0.iter().position(is_it).map(|index| Ref { index, entry: PhantomData })
    }
}

impl<T> Ref<T> {
    /// The number of the entry, from 0.
    pub fn index(self) -> usize {
        self.index
    }
}

impl<T> FromIterator<T> for Table<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a Table<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Index<Ref<T>> for Table<T> {
    type Output = T;

    fn index(&self, place: Ref<T>) -> &T {
        &self.0[place.index]
    }
}

// Derived, these would ask the same of T.
impl<T> Copy for Ref<T> {}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Ref<T> {}

impl<T> PartialOrd for Ref<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ref<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> Hash for Ref<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}
