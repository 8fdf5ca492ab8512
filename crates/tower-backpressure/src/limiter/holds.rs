//! What permits hold besides one unit of the limit: more units, and a share of their tenant.

use backpressure_core::Hold;

/// The holds of permits in flight, by number. Most permits have none: they take one unit, for no tenant.
///
/// The number in a permit is as small as it can be, because permits are moved often.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    holds: Vec<Hold>,
    /// Numbers that are free.
    free: Vec<u32>,
}

impl Holds {
    /// Keeps a hold until it is taken; its number, or 0 if there is nothing to keep.
    pub(crate) fn keep(&mut self, hold: Hold) -> u32 {
        if hold.is_plain() {
            return 0;
        }
        match self.free.pop() {
            Some(number) => {
                self.holds[number as usize - 1] = hold;
                number
            }
            None => {
                self.holds.push(hold);
                // As many as there are permits in flight, which fit in 20 bits.
                self.holds.len() as u32
            }
        }
    }

    /// Takes the hold with this number, which is not 0.
    pub(crate) fn take(&mut self, number: u32) -> Hold {
        self.free.push(number);
        self.holds[number as usize - 1]
    }

    /// Units of the hold with this number.
    pub(crate) fn units(&self, number: u32) -> usize {
        if number == 0 { 1 } else { self.holds[number as usize - 1].units() }
    }
}
