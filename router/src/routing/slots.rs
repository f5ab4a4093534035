//! Things under way, found again by a number that is not used twice.

/// Index in the low half, how often the slot was used in the high half.
fn id(index: usize, turn: u32) -> u64 {
    let index = u32::try_from(index).expect("slots are bounded far below 2^32");
    u64::from(turn) << 32 | u64::from(index)
}

#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    turn: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub fn insert(&mut self, value: T) -> u64 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { turn: 0, value: None });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        slot.turn = slot.turn.wrapping_add(1);
        slot.value = Some(value);
        id(index, slot.turn)
    }

    fn index(&self, wanted: u64) -> Option<usize> {
        let index = usize::try_from(wanted & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get(index)?;
        (id(index, slot.turn) == wanted && slot.value.is_some()).then_some(index)
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let index = self.index(id)?;
        self.slots[index].value.as_mut()
    }

    pub fn remove(&mut self, id: u64) -> Option<T> {
        let index = self.index(id)?;
        self.free.push(index);
        self.slots[index].value.take()
    }

    /// Everything, and nothing is left; numbers given before stay dead.
    pub fn drain(&mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len());
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(value) = slot.value.take() {
                self.free.push(index);
                all.push(value);
            }
        }
        all
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_number_finds_its_thing_once_and_no_other() {
        let mut slots = Slots::default();
        let first = slots.insert("first");
        let second = slots.insert("second");
        assert_eq!(slots.remove(first), Some("first"));
        assert_eq!(slots.remove(first), None);
        let third = slots.insert("third");
        assert_ne!(third, first);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "second"));
        assert_eq!(slots.len(), 2);
        assert_eq!(slots.drain().len(), 2);
        assert_eq!((slots.len(), slots.remove(third)), (0, None));
    }
}
