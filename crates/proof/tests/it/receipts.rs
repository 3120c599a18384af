//! Receipts: written, read, verified offline; and no bit of what they say can be changed.

use expect_test::expect;
use proof::{
    Checkpoint, Cosigner, Hash, Note, Policy, Prover, Receipt, ReceiptError, Signer, TrustError,
    VerifyError,
};

use crate::model::{grown, leaves};

fn log() -> Signer {
    Signer::from_seed("log.example", &[1; 32]).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::from_seed("witness.example/w1", &[2; 32]).unwrap()
}

fn policy() -> Policy {
    let witnesses = vec![witness().verifier().clone()];
    Policy::new("log.example", vec![log().verifier().clone()], witnesses, 1).unwrap()
}

/// The receipt of a leaf in a tree of so many leaves.
pub(crate) fn receipt(index: u64, size: u64) -> Receipt {
    let (tree, tiles) = grown(&leaves(size));
    let checkpoint = Checkpoint::new("log.example", size, tree.root()).unwrap();
    let signatures = vec![
        log().sign_checkpoint(&checkpoint),
        witness().cosign(&checkpoint, 1_700_000_000).unwrap(),
    ];
    Receipt {
        extra: b"for the reader".to_vec(),
        index,
        proof: Prover::new(&tiles, size).inclusion(index, size).unwrap(),
        checkpoint: Note::new(checkpoint.text(), signatures).unwrap(),
    }
}

#[test]
fn a_receipt_is_written_as_the_specification_says() {
    let text = receipt(2, 5).encode();
    // Computed by another implementation (Python's hashlib and cryptography).
    expect![[r#"
        c2sp.org/tlog-proof@v1
        extra Zm9yIHRoZSByZWFkZXI=
        index 2
        /uvxhjvR/O7f7/JpOCnVD/vKwQDQ++dFSC4DL5P2uvs=
        p9kYlLYfv0Y3jYjj4bH3rvOVMsUEtIS9MVUdFeCgnf8=
        mJkwf510d0YSJXXt7rOWPHyDwCkkH4Kj0XuZlyh42w4=

        log.example
        5
        ywPe8MW2O97L7WzYY8jmHtqyPhrHq3AoHGmRg8rCvvY=

        — log.example HMdY+Rw/E6Yw2lb5pQ88x7tkLflOAHIIOPNSt88w0terD6ENMUUFydF4XRhNDH8XkUm9wqX5zaJHmhfPdWJgyOb5Ywo=
        — witness.example/w1 3xwKNQAAAABlU/EAI1/Yp70fD1IE4WJHLMZjzoXFQYsscyd8+yj80R3TMlDHyRs9v2POvbF20O7XLmjFQ7cNBHzi5JBYLHGHtCjLCQ==
    "#]]
    .assert_eq(&text);
    assert_eq!(Receipt::parse(text.as_bytes()).unwrap(), receipt(2, 5));
}

#[test]
fn a_receipt_verifies_offline() {
    for (index, size) in [(0, 1), (0, 2), (1, 2), (2, 3), (299, 300), (0, 300), (255, 256)] {
        let again = Receipt::parse(receipt(index, size).encode().as_bytes()).unwrap();
        let trusted = again.verify(&leaves(size)[index as usize], &policy()).unwrap();
        assert_eq!(trusted.checkpoint.size(), size);
        assert_eq!(trusted.witnesses, [("witness.example/w1".to_owned(), 1_700_000_000)]);
    }
}

#[test]
fn the_receipt_of_another_leaf_is_refused() {
    let receipt = receipt(7, 20);
    let leaves = leaves(20);
    for (index, leaf) in leaves.iter().enumerate() {
        assert_eq!(receipt.verify(leaf, &policy()).is_ok(), index == 7);
    }
    let moved = Receipt { index: 6, ..receipt.clone() };
    assert!(matches!(
        moved.verify(&leaves[7], &policy()),
        Err(ReceiptError::Verify(VerifyError::Root { .. }))
    ));
    let beyond = Receipt { index: 20, ..receipt };
    assert!(matches!(
        beyond.verify(&leaves[7], &policy()),
        Err(ReceiptError::Verify(VerifyError::Leaf { index: 20, size: 20 }))
    ));
}

#[test]
fn a_receipt_needs_its_witnesses() {
    let mut receipt = receipt(7, 20);
    let log_only = vec![receipt.checkpoint.signatures()[0].clone()];
    receipt.checkpoint = Note::new(receipt.checkpoint.text().to_owned(), log_only).unwrap();
    let refused = receipt.verify(&leaves(20)[7], &policy());
    assert_eq!(refused, Err(TrustError::Quorum { quorum: 1, found: 0 }.into()));
}

/// Whether bytes are a receipt for the leaf that says the same as `receipt`. Only the unauthenticated line may differ.
fn says_the_same(bytes: &[u8], leaf: &Hash, receipt: &Receipt) -> bool {
    let Ok(changed) = Receipt::parse(bytes) else { return false };
    let accepted = changed.verify(leaf, &policy()).is_ok();
    let same_extra = Receipt { extra: receipt.extra.clone(), ..changed };
    assert!(!accepted || same_extra == *receipt, "a receipt that says something else is accepted");
    accepted
}

#[test]
fn no_bit_of_a_receipt_can_be_changed_but_in_its_unauthenticated_line() {
    let receipt = receipt(3, 6);
    let leaf = leaves(6)[3];
    let bytes = receipt.encode().into_bytes();
    let line = str::from_utf8(&bytes).unwrap().lines().nth(1).unwrap().len();
    let extra = 23 + "extra ".len()..23 + line;
    assert!(says_the_same(&bytes, &leaf, &receipt));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let accepted = says_the_same(&changed, &leaf, &receipt);
        assert!(!accepted || extra.contains(&(bit / 8)), "bit {bit} does not matter");
    }
}

#[test]
fn what_is_not_a_receipt_is_refused() {
    let text = receipt(2, 5).encode();
    let hash = text.lines().nth(3).unwrap();
    let wrong = [
        String::new(),
        "c2sp.org/tlog-proof@v1\n".to_owned(),
        text.replacen("@v1", "@v2", 1),
        text.replacen("index 2", "index 02", 1),
        text.replacen("index 2", "index -2", 1),
        text.replacen("index 2", "index 9223372036854775808", 1),
        text.replacen("index 2", "Index 2", 1),
        text.replacen("index 2\n", "", 1),
        text.replacen("extra Zm9yIHRoZSByZWFkZXI=", "extra ", 1),
        text.replacen("extra Zm9yIHRoZSByZWFkZXI=", "extra !!", 1),
        text.replacen("extra Zm9yIHRoZSByZWFkZXI=", "extra Zm9y\nextra Zm9y", 1),
        text.replacen(hash, "!!notbase64!!", 1),
        text.replacen(hash, "", 1),
        text.replacen(hash, &format!("{hash}{hash}"), 1),
        text.replacen(hash, &[hash; 64].join("\n"), 1),
        text.replacen("\n\n", "\n", 1),
        text.replacen("\n\n", "\n\n\n", 1),
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
    ];
    for text in wrong {
        let parsed = Receipt::parse(text.as_bytes());
        // A line end too many is not part of the checkpoint's text either.
        let verified = parsed.map(|receipt| receipt.verify(&leaves(5)[2], &policy()).is_ok());
        assert!(!matches!(verified, Ok(true)), "{text}");
    }
    assert!(Receipt::parse(&vec![b'x'; (2 << 20) + 1]).is_err());
    assert!(Receipt::parse(b"c2sp.org/tlog-proof@v1\nindex \xff\n\n").is_err());
}
