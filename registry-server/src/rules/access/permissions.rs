//! Permissions, and sets of them: a bit for each that a method declares.

use std::fmt;
use std::sync::LazyLock;

use registry_proto::rpc::{PERMISSIONS, Request};

use super::OF_ALL;

/// A permission that a method declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permission(usize);

impl Permission {
    /// That of a method.
    pub(crate) fn of_method<Q: Request>() -> Self {
        const { Self(index_of(Q::PERMISSION)) }
    }

    /// The permission with this name, such as `models.get`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        PERMISSIONS.binary_search(&name).ok().map(Self)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        PERMISSIONS[self.0]
    }

    /// All that there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..PERMISSIONS.len()).map(Self)
    }
}

/// The place of a name, for what is known when this is compiled.
const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < PERMISSIONS.len() {
        let (one, other) = (PERMISSIONS[index].as_bytes(), name.as_bytes());
        let mut same = 0;
        while same < one.len() && same < other.len() && one[same] == other[same] {
            same += 1;
        }
        if same == one.len() && same == other.len() {
            return index;
        }
        index += 1;
    }
    panic!("a method has a permission that is not listed")
}

const WORDS: usize = PERMISSIONS.len().div_ceil(64);

/// Several permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Permissions([u64; WORDS]);

impl Permissions {
    /// All that there are.
    pub(crate) fn all() -> Self {
        static ALL: LazyLock<Permissions> = LazyLock::new(|| Permission::all().collect());
        *ALL
    }

    /// Those of everybody who has a valid token.
    pub(crate) fn of_all() -> Self {
        static COMMON: LazyLock<Permissions> = LazyLock::new(|| Permissions::of_patterns(OF_ALL));
        *COMMON
    }

    /// Those that a pattern stands for: one by its name, all of a collection (`models.*`), or all (`*`). `None` if there are none.
    pub(crate) fn of(pattern: &str) -> Option<Self> {
        let matching = |permission: &Permission| match pattern.strip_suffix('*') {
            Some(start) if start.is_empty() || start.ends_with('.') => permission.name().starts_with(start),
            _ => permission.name() == pattern,
        };
        let permissions: Self = Permission::all().filter(matching).collect();
        (permissions != Self::default()).then_some(permissions)
    }

    /// Those that any of these patterns stands for. One that stands for none, of a newer server perhaps, counts for nothing.
    pub(crate) fn of_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        patterns.into_iter().filter_map(Self::of).fold(Self::default(), Self::and)
    }

    /// Whether this one is among them.
    pub(crate) fn has(self, Permission(at): Permission) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    /// These and others.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// Those that are in both.
    pub(crate) fn with(mut self, others: Self) -> Self {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// The first of these that others lack.
    pub(crate) fn first_beyond(self, others: Self) -> Option<Permission> {
        Permission::all().find(|permission| self.has(*permission) && !others.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        let mut all = Self::default();
        for Permission(at) in permissions {
            all.0[at / 64] |= 1 << (at % 64);
        }
        all
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Permission::all().filter(|permission| self.has(*permission)).map(Permission::name))
            .finish()
    }
}
