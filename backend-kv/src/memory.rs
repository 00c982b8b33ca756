//! Engines in memory, for the tests of this crate.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound::{Excluded, Included};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use jobstore_core::{Order, Result};
use jobstore_group_commit::Failure;

use crate::engine::{Changes, Durability, Engine, Entries, Opening, View};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A map. Opening the same path gives the same map, so it survives being closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Arc<RwLock<Map>>);

static MAPS: Mutex<BTreeMap<std::path::PathBuf, Memory>> = Mutex::new(BTreeMap::new());

impl Memory {
    /// The map at this path, for a test to look into, whoever has it.
    pub(crate) fn at(path: &Path) -> Self {
        let mut maps = MAPS.lock().expect("no panic");
        maps.entry(path.to_owned()).or_default().clone()
    }
}

impl Engine for Memory {
    const NAME: &'static str = "memory";

    fn open(path: &Path, _: &Opening) -> Result<Self> {
        let mut maps = MAPS.lock().expect("no panic");
        let memory = maps.entry(path.to_owned()).or_default();
        // As every engine does that is for one process.
        match Arc::strong_count(&memory.0) {
            1 => Ok(memory.clone()),
            _ => Err(crate::error::unavailable("the map is in use")),
        }
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Locked(self.0.read().expect("no panic"))))
    }

    fn view_now(&self) -> Result<Option<Box<dyn View + '_>>> {
        Ok(match self.0.try_read() {
            Ok(map) => Some(Box::new(Locked(map))),
            Err(_) => None,
        })
    }

    fn apply(&self, changes: &Changes, _: Durability) -> Result<(), Failure> {
        let mut map = self.0.write().expect("no panic");
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// A map that has a test do something in the middle of each step, and whose syncs do as they are told.
pub(crate) struct Told {
    memory: Memory,
    amid: Box<dyn Fn(Durability) + Send + Sync>,
    syncs: Mutex<VecDeque<Result<()>>>,
}

impl Told {
    pub(crate) fn new(amid: impl Fn(Durability) + Send + Sync + 'static) -> Self {
        Self {
            memory: Memory::default(),
            amid: Box::new(amid),
            syncs: Mutex::default(),
        }
    }

    /// Has a sync end so, after those that were told before.
    pub(crate) fn tell(&self, sync: Result<()>) {
        self.syncs.lock().expect("no panic").push_back(sync);
    }

    /// How many syncs were told and did not happen.
    pub(crate) fn left(&self) -> usize {
        self.syncs.lock().expect("no panic").len()
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl Engine for Told {
    const NAME: &'static str = "told";

    fn open(_: &Path, _: &Opening) -> Result<Self> {
        unreachable!("tests make it")
    }

    fn view(&self) -> Result<Box<dyn View + '_>> {
        self.memory.view()
    }

    fn apply(&self, changes: &Changes, durability: Durability) -> Result<(), Failure> {
        (self.amid)(durability);
        self.memory.apply(changes, durability)
    }

    fn sync(&self) -> Result<()> {
        let told = self.syncs.lock().expect("no panic").pop_front();
        told.expect("a sync is expected")
    }
}

struct Locked<'a>(RwLockReadGuard<'a, Map>);

impl View for Locked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).cloned())
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        entries(&self.0, from, to, order)
    }
}

/// A map as a view.
pub(crate) struct MapView<'a>(&'a Map);

impl<'a> MapView<'a> {
    pub(crate) fn new(map: &'a Map) -> Self {
        Self(map)
    }
}

impl View for MapView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).cloned())
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        entries(self.0, from, to, order)
    }
}

fn entries<'a>(map: &'a Map, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
    assert!(from < to, "the seam promises a range that is not empty");
    let range = map.range::<[u8], _>((Included(from), Excluded(to)));
    let range = range.map(|(key, value)| Ok((key.clone(), value.clone())));
    Ok(match order {
        Order::Ascending => Box::new(range),
        Order::Descending => Box::new(range.rev()),
    })
}
