//! One bearer's certificate: whether it is to be made anew. Pure.

use k8s_openapi::jiff::Timestamp;

use super::mint::{self, MintError, Pair, Said};

/// Renewed when no more than this is left of its 90 days. The first who could notice that nobody renews is told by the alarm at 30.
const RENEWED_WITH_LEFT_S: i64 = 60 * 24 * 60 * 60;

/// As it rests in its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// What its bearer trusts.
    pub bundle: String,
    pub pair: Pair,
}

/// As it should be.
#[derive(Clone, Copy, Debug)]
pub struct Wished<'a> {
    pub identity: &'a str,
    pub bundle: &'a str,
    /// One of these has signed it.
    pub authorities: &'a str,
}

/// What is to be written into its Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Nothing,
    /// The certificate stays, and trusts others.
    Rebundle,
    /// A new certificate, for this reason.
    Make(&'static str),
}

pub fn due(leaf: Option<&Leaf>, wished: Wished<'_>, now: Timestamp) -> Deed {
    let Some(leaf) = leaf else { return Deed::Make("there is none") };
    let Ok(said) = mint::read(&leaf.pair.certificate) else { return Deed::Make("it cannot be read") };
    if said.identity.as_deref() != Some(wished.identity) {
        return Deed::Make("it is somebody else's");
    }
    if now >= before_its_end(&said) {
        return Deed::Make("it ends soon");
    }
    if !mint::is_sound(&leaf.pair, wished.authorities) {
        return Deed::Make("the CA that signs now has not signed it");
    }
    if leaf.bundle == wished.bundle { Deed::Nothing } else { Deed::Rebundle }
}

/// From then on it is to be made anew, whatever else is well.
pub fn renewed_at(leaf: &Leaf) -> Result<Timestamp, MintError> {
    Ok(before_its_end(&mint::read(&leaf.pair.certificate)?))
}

fn before_its_end(said: &Said) -> Timestamp {
    Timestamp::from_second(said.ends.as_second() - RENEWED_WITH_LEFT_S).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: &str = "spiffe://trivet/shop/trv/router";

    #[test]
    fn it_is_made_anew_when_it_is_missing_foreign_ending_or_of_another_authority() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (old, new) = (mint::authority(now).unwrap(), mint::authority(now).unwrap());
        let bundle = old.certificate.clone();
        let leaf = Leaf { bundle: bundle.clone(), pair: mint::leaf(&old, ROUTER, now).unwrap() };
        let wished = Wished { identity: ROUTER, bundle: &bundle, authorities: &bundle };
        assert_eq!(due(Some(&leaf), wished, now), Deed::Nothing);
        assert_eq!(due(None, wished, now), Deed::Make("there is none"));
        let days = |days: i64| Timestamp::from_second(now.as_second() + days * 86_400).unwrap();
        assert_eq!(due(Some(&leaf), wished, days(29)), Deed::Nothing);
        assert_eq!(due(Some(&leaf), wished, days(30)), Deed::Make("it ends soon"));
        let other = Wished { identity: "spiffe://trivet/shop/trv/memds", ..wished };
        assert_eq!(due(Some(&leaf), other, now), Deed::Make("it is somebody else's"));
        let both = format!("{bundle}{}", new.certificate);
        assert_eq!(due(Some(&leaf), Wished { bundle: &both, ..wished }, now), Deed::Rebundle);
        let resigned = Wished { authorities: &new.certificate, ..wished };
        assert_eq!(due(Some(&leaf), resigned, now), Deed::Make("the CA that signs now has not signed it"));
        let scrap = Leaf { pair: Pair { certificate: "scrap".to_owned(), ..leaf.pair.clone() }, ..leaf };
        assert_eq!(due(Some(&scrap), wished, now), Deed::Make("it cannot be read"));
    }
}
