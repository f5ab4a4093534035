//! The objects of one kind as they were last heard of, by name: of one namespace, or of none.
//!
//! While all are listed again, what is there stays as it is until the list is whole, and then becomes the list at once: half a list is
//! none. An object that has not changed meanwhile is never held twice, as it is in kube's own store: ten thousand of them are listed
//! again in the memory of one list.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use kube::runtime::watcher::Event;

type ByName<H> = BTreeMap<String, Arc<H>>;

/// For whoever looks. A handle; clones see the same.
#[derive(Debug)]
pub struct Objects<H> {
    all: Arc<RwLock<ByName<H>>>,
}

impl<H> Clone for Objects<H> {
    fn clone(&self) -> Objects<H> {
        Objects { all: Arc::clone(&self.all) }
    }
}

impl<H> Default for Objects<H> {
    fn default() -> Objects<H> {
        Objects { all: Arc::default() }
    }
}

impl<H> Objects<H> {
    fn all(&self) -> RwLockReadGuard<'_, ByName<H>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, name: &str) -> Option<Arc<H>> {
        self.all().get(name).cloned()
    }

    /// In the order of their names.
    pub fn state(&self) -> Vec<Arc<H>> {
        self.all().values().cloned().collect()
    }

    pub fn state_filter(&self, is: impl Fn(&H) -> bool) -> Vec<Arc<H>> {
        self.all().values().filter(|object| is(object)).cloned().collect()
    }
}

/// For the one that watches.
#[derive(Debug)]
pub struct Writer<H> {
    objects: Objects<H>,
    /// What has been listed, while all are listed.
    listed: ByName<H>,
}

impl<H: PartialEq> Writer<H> {
    pub fn new(objects: &Objects<H>) -> Writer<H> {
        Writer { objects: objects.clone(), listed: ByName::new() }
    }

    /// What `named` makes of an object is what is held of it.
    pub fn take<K>(&mut self, event: Event<K>, named: impl FnOnce(K) -> (String, H)) {
        match event {
            // The list before was cut short.
            Event::Init => self.listed = ByName::new(),
            Event::InitApply(object) => {
                let (name, object) = named(object);
                // By all that is held of it: where etcd was set back, a version may stand for another content than before.
                let known = self.objects.get(&name).filter(|known| **known == object);
                self.listed.insert(name, known.unwrap_or_else(|| Arc::new(object)));
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.change(|all| *all = listed);
            }
            Event::Apply(object) => {
                let (name, object) = named(object);
                self.change(|all| {
                    all.insert(name, Arc::new(object));
                });
            }
            Event::Delete(object) => {
                let (name, _) = named(object);
                self.change(|all| {
                    all.remove(&name);
                });
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut ByName<H>)) {
        change(&mut self.objects.all.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Object = (&'static str, u64);

    fn named(object: Object) -> (String, Object) {
        (object.0.to_owned(), object)
    }

    struct Kind {
        objects: Objects<Object>,
        writer: Writer<Object>,
    }

    impl Kind {
        fn new() -> Kind {
            let objects = Objects::default();
            let writer = Writer::new(&objects);
            Kind { objects, writer }
        }

        fn take(&mut self, event: Event<Object>) {
            self.writer.take(event, named);
        }

        fn list(&mut self, listed: &[Object]) {
            self.take(Event::Init);
            listed.iter().for_each(|object| self.take(Event::InitApply(*object)));
            self.take(Event::InitDone);
        }

        fn there(&self) -> Vec<Object> {
            self.objects.state().into_iter().map(|object| *object).collect()
        }
    }

    #[test]
    fn half_a_list_changes_nothing_and_a_whole_one_everything_at_once() {
        let mut kind = Kind::new();
        kind.take(Event::Init);
        kind.take(Event::InitApply(("a", 1)));
        assert_eq!(kind.there(), []);
        kind.take(Event::InitApply(("b", 2)));
        kind.take(Event::InitDone);
        kind.take(Event::Apply(("c", 3)));
        assert_eq!(kind.there(), [("a", 1), ("b", 2), ("c", 3)]);
        // "b" is gone, "c" made anew, and nobody sees one without the other.
        kind.take(Event::Init);
        kind.take(Event::InitApply(("c", 5)));
        assert_eq!(kind.there(), [("a", 1), ("b", 2), ("c", 3)]);
        // The next page fails, and all begins anew; "a" is gone meanwhile, too.
        kind.list(&[("c", 5), ("d", 6)]);
        assert_eq!(kind.there(), [("c", 5), ("d", 6)]);
        kind.take(Event::Delete(("c", 7)));
        assert_eq!(kind.there(), [("d", 6)]);
        assert_eq!(kind.objects.get("d").as_deref(), Some(&("d", 6)));
        assert_eq!(kind.objects.get("c"), None);
        kind.list(&[]);
        assert_eq!(kind.there(), []);
    }

    #[test]
    fn what_has_not_changed_is_not_held_twice_while_all_are_listed_again() {
        let mut kind = Kind::new();
        kind.list(&[("a", 1), ("b", 2)]);
        let before = kind.objects.state();
        kind.list(&[("a", 1), ("b", 3)]);
        let after = kind.objects.state();
        assert!(Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!((*before[1], *after[1]), (("b", 2), ("b", 3)));
    }
}
