//! Random numbers of controllers: the same for the same site.

use fastrand::Rng;

use crate::controller::Site;

/// A generator of its own for each replica, so that no two of a service draw alike.
pub(super) fn for_site(site: &Site) -> Rng {
    let mut seeds = Rng::with_seed(site.seed);
    Rng::with_seed(seeds.u64(..) ^ u64::from(site.replica).wrapping_mul(ODD))
}

/// 2^64 over the golden ratio: spreads small numbers over all bits.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::SITE;

    #[test]
    fn a_site_draws_the_same_again_and_another_replica_draws_differently() {
        assert_eq!(for_site(&SITE).u64(..), for_site(&SITE).u64(..));
        assert_ne!(for_site(&SITE).u64(..), for_site(&Site { replica: 1, ..SITE }).u64(..));
    }
}
