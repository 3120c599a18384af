//! A witness: what it cosigns is one history, whatever it is asked, and however often.

use proof::{
    AddCheckpoint, Checkpoint, Cosigner, EMPTY_ROOT, Hash, Note, Policy, Refusal, Seen, Signer,
    VerifyError, Witness, leaf_hash,
};
use proptest::prelude::*;

use crate::model::{consistency, head, leaves, mth};

const ORIGIN: &str = "log.example";
const NOW: u64 = 1_700_000_000;

fn log() -> Signer {
    Signer::from_seed(ORIGIN, &[1; 32]).unwrap()
}

fn witness() -> Witness {
    let mut witness = Witness::new(Cosigner::from_seed("witness.example", &[2; 32]).unwrap());
    witness.watch(ORIGIN, vec![log().verifier().clone()]);
    witness
}

fn signed(origin: &str, leaves: &[Hash], signer: &Signer) -> Note {
    let checkpoint = Checkpoint::new(origin, leaves.len() as u64, mth(leaves)).unwrap();
    let signature = signer.sign_checkpoint(&checkpoint);
    Note::new(checkpoint.text(), vec![signature]).unwrap()
}

/// The request to cosign a log of these leaves, from an old size.
fn request(old: usize, leaves: &[Hash]) -> AddCheckpoint {
    let proof = if old <= leaves.len() { consistency(old, leaves) } else { Vec::new() };
    let request = AddCheckpoint::new(old as u64, proof, signed(ORIGIN, leaves, &log())).unwrap();
    let again = AddCheckpoint::parse(request.encode().as_bytes()).unwrap();
    assert_eq!(again, request, "a request is read as it was written");
    request
}

/// Cosigns, and returns the state after it.
fn cosigned(seen: Option<&Seen>, request: &AddCheckpoint) -> Seen {
    witness().consider(seen, request, NOW).unwrap().seen().clone()
}

fn refusal(seen: Option<&Seen>, request: &AddCheckpoint) -> Refusal {
    witness().consider(seen, request, NOW).unwrap_err()
}

#[test]
fn a_growing_log_is_cosigned_step_by_step() {
    let leaves = leaves(40);
    let mut seen = None;
    let mut old = 0;
    for size in [1, 1, 2, 3, 7, 8, 8, 33, 40] {
        let request = request(old, &leaves[..size]);
        let pending = witness().consider(seen.as_ref(), &request, NOW).unwrap();
        assert_eq!(pending.seen().tree(), head(&leaves[..size]));
        let state = pending.seen().encode();
        let answer = pending.release();
        // The log adds the answer to its checkpoint, and whoever trusts the witness accepts it.
        let note = signed(ORIGIN, &leaves[..size], &log());
        let keys = vec![witness().verifier().clone()];
        let note = note.with_signatures(&answer, &keys).unwrap();
        let policy = Policy::new(ORIGIN, vec![log().verifier().clone()], keys, 1).unwrap();
        let trusted = policy.open(&note).unwrap();
        assert_eq!(trusted.witnesses, [("witness.example".to_owned(), NOW)]);
        (seen, old) = (Some(Seen::decode(&state).unwrap()), size);
    }
}

#[test]
fn the_first_checkpoint_may_be_of_any_size() {
    let leaves = leaves(40);
    assert_eq!(cosigned(None, &request(0, &leaves)).tree(), head(&leaves));
    assert_eq!(cosigned(None, &request(0, &[])).tree().root, EMPTY_ROOT);
}

#[test]
fn a_request_from_another_size_is_told_the_right_one() {
    let leaves = leaves(40);
    let seen = cosigned(None, &request(0, &leaves[..20]));
    for old in [0, 1, 19, 21, 40] {
        let refusal = refusal(Some(&seen), &request(old, &leaves));
        assert_eq!(refusal, Refusal::Conflict { seen: 20 });
        assert_eq!(
            (refusal.status(), refusal.body()),
            (409, ("20\n".to_owned(), "text/x.tlog.size"))
        );
    }
    assert_eq!(refusal(None, &request(20, &leaves)), Refusal::Conflict { seen: 0 });
    // A log never goes back.
    assert_eq!(refusal(Some(&seen), &request(0, &leaves[..10])), Refusal::Conflict { seen: 20 });
    let back = refusal(Some(&seen), &request(20, &leaves[..10]));
    assert_eq!((back.clone(), back.status()), (Refusal::Sizes { old: 20, new: 10 }, 400));
}

#[test]
fn a_fork_is_refused() {
    let honest = leaves(40);
    let mut forked = honest.clone();
    forked[5] = leaf_hash(b"something else");
    let seen = cosigned(None, &request(0, &honest[..20]));
    let same_size = refusal(Some(&seen), &request(20, &forked[..20]));
    assert!(matches!(same_size, Refusal::Fork { size: 20, .. }));
    assert_eq!(same_size.status(), 409);
    let larger = refusal(Some(&seen), &request(20, &forked));
    assert!(matches!(larger, Refusal::Proof(VerifyError::OldRoot { .. })));
    assert_eq!(larger.status(), 422);
    // Nor with a proof that was made for the honest tree.
    let note = signed(ORIGIN, &forked, &log());
    let mixed = AddCheckpoint::new(20, consistency(20, &honest), note).unwrap();
    assert!(matches!(refusal(Some(&seen), &mixed), Refusal::Proof(VerifyError::Root { .. })));
}

#[test]
fn a_proof_must_be_exact() {
    let leaves = leaves(40);
    let seen = cosigned(None, &request(0, &leaves[..20]));
    let note = || signed(ORIGIN, &leaves, &log());
    let proof = consistency(20, &leaves);
    let refused = |seen: Option<&Seen>, old: u64, proof: Vec<Hash>, note: Note| {
        let request = AddCheckpoint::new(old, proof, note).unwrap();
        refusal(seen, &request)
    };
    let short = refused(Some(&seen), 20, proof[1..].to_vec(), note());
    assert!(matches!(short, Refusal::Proof(_)));
    let long = refused(Some(&seen), 20, [&proof[..], &[EMPTY_ROOT]].concat(), note());
    assert!(matches!(long, Refusal::Proof(VerifyError::Length { .. })));
    // From nothing, and from itself, the proof is empty.
    assert!(matches!(refused(None, 0, proof.clone(), note()), Refusal::Proof(_)));
    let same = signed(ORIGIN, &leaves[..20], &log());
    assert!(matches!(refused(Some(&seen), 20, proof, same), Refusal::Proof(_)));
    let too_many = AddCheckpoint::new(20, vec![EMPTY_ROOT; 64], note());
    assert!(too_many.is_err());
}

#[test]
fn only_known_logs_with_their_own_signature_are_answered() {
    let leaves = leaves(3);
    let elsewhere =
        AddCheckpoint::new(0, vec![], signed("other.example", &leaves, &log())).unwrap();
    let unknown = refusal(None, &elsewhere);
    assert_eq!(
        (unknown.status(), unknown.to_string().as_str()),
        (404, "this witness does not know the log other.example")
    );
    let thief = Signer::from_seed("thief.example", &[3; 32]).unwrap();
    let unsigned = AddCheckpoint::new(0, vec![], signed(ORIGIN, &leaves, &thief)).unwrap();
    assert_eq!(refusal(None, &unsigned).status(), 403);
    // Under the right name and id, but with a wrong signature.
    let stolen = signed(ORIGIN, &leaves, &log()).to_string().replacen("\n3\n", "\n4\n", 1);
    let stolen = Note::parse(stolen.as_bytes()).unwrap();
    assert_eq!(refusal(None, &AddCheckpoint::new(0, vec![], stolen).unwrap()).status(), 403);
    // The clock is an argument as well.
    let request = request(0, &leaves);
    let refused = witness().consider(None, &request, u64::MAX).unwrap_err();
    assert_eq!(refused, Refusal::Clock(u64::MAX));
}

#[test]
fn the_specifications_example_is_read_and_written() {
    let example = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";
    let request = AddCheckpoint::parse(example.as_bytes()).unwrap();
    assert_eq!(request.encode(), example);
    assert_eq!(request.checkpoint().size(), 20_852_163);
    for (from, to) in [
        ("old 20852014", "old 020852014"),
        ("old 20852014", "old"),
        ("old 20852014", "Old 20852014"),
        ("old 20852014", "old 20852014 "),
        ("old 20852014\n", "old 20852014\n\n"),
        ("PlRN", "PlR!"),
        ("pkaw=", "pkaw"),
        ("\n\nexample", "\nexample"),
        ("20852163\n", "+20852163\n"),
        ("20852163\n", "20852163\n\n"),
    ] {
        assert!(AddCheckpoint::parse(example.replacen(from, to, 1).as_bytes()).is_err(), "{to:?}");
    }
    let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
    assert!(AddCheckpoint::parse(example.replacen(line, &line.repeat(60), 1).as_bytes()).is_ok());
    assert!(AddCheckpoint::parse(example.replacen(line, &line.repeat(61), 1).as_bytes()).is_err());
}

#[test]
fn unreadable_state_is_not_no_state() {
    let seen = cosigned(None, &request(0, &leaves(5)));
    assert_eq!(Seen::decode(&seen.encode()).unwrap(), seen);
    assert_eq!(seen.origin(), ORIGIN);
    for state in ["", "log.example\n", &format!("{}more\n", seen.encode()), &seen.encode()[1..20]] {
        assert!(Seen::decode(state).is_err(), "{state:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Two histories that part after some leaves, and requests from either, in any order, some answers lost before
    /// they were stored.
    #[test]
    fn everything_ever_cosigned_is_one_history(
        shared in 0_usize..20,
        requests in prop::collection::vec((any::<bool>(), 0_usize..40, any::<u8>(), any::<bool>()), 1..40),
    ) {
        let histories = [leaves(40), {
            let mut other = leaves(40);
            for leaf in &mut other[shared..] {
                *leaf = leaf_hash(&leaf.0);
            }
            other
        }];
        let witness = witness();
        let mut seen: Option<Seen> = None;
        let mut released: Vec<&[Hash]> = Vec::new();
        for (which, size, old, stored) in requests {
            let leaves = &histories[usize::from(which)][..size];
            let known = seen.as_ref().map_or(0, |seen| seen.tree().size as usize);
            // Mostly from the right size, sometimes from another.
            let old = if old < 200 { known } else { usize::from(old % 40) };
            let Ok(pending) = witness.consider(seen.as_ref(), &request(old, leaves), NOW) else {
                continue;
            };
            // A crash before the state was stored: nobody has got the answer.
            if stored {
                seen = Some(Seen::decode(&pending.seen().encode()).unwrap());
                prop_assert!(!pending.release().is_empty());
                released.push(leaves);
            }
        }
        for pair in released.windows(2) {
            prop_assert!(pair[1].starts_with(pair[0]));
        }
    }
}
