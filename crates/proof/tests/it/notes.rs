//! Notes, keys and checkpoints: what other implementations and running logs have signed, and what must be refused.

use expect_test::expect;
use proof::{
    Algorithm, Checkpoint, Cosigner, EMPTY_ROOT, KeyError, Note, NoteError, Policy, SignError,
    Signature, SignedAt, Signer, TrustError, VerifierKey, leaf_hash,
};

// The example of golang.org/x/mod/sumdb/note.
const PETER_SKEY: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH_VKEY: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const PETER_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";
const PETER_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
const ENOCH_LINE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=";

// The example of signed-note.
const SPEC_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

// What sum.golang.org said on 2024-09-23.
const GO_VKEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GO_CHECKPOINT: &str = "go.sum database tree\n30055305\nmXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=\n\n\
    — sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJYle3EJlDCrQ+y3A8=\n";

// A checkpoint of a running log that witnesses cosigned.
const ARCHE_VKEY: &str =
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
const REMORA_VKEY: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
const ARCHE_CHECKPOINT: &str = "arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";

// The example of tlog-cosignature. Its keys are not published.
const SPEC_CHECKPOINT: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";

fn key(text: &str) -> VerifierKey {
    VerifierKey::parse(text).unwrap()
}

fn note(text: &str) -> Note {
    let note = Note::parse(text.as_bytes()).unwrap();
    assert_eq!(note.to_string(), text, "a note is written as it was read");
    note
}

#[test]
fn keys_and_signatures_are_those_of_other_implementations() {
    let signer = Signer::parse(PETER_SKEY).unwrap();
    assert_eq!(signer.verifier().to_string(), PETER_VKEY);
    assert_eq!(signer.verifier().id(), 0xc74f_20a3);
    assert_eq!(signer.sign(PETER_TEXT).unwrap().to_string(), PETER_LINE);
    let both = note(&format!("{PETER_TEXT}\n{PETER_LINE}\n{ENOCH_LINE}\n"));
    let keys = [key(PETER_VKEY), key(ENOCH_VKEY)];
    let verified = both.verify(&keys).unwrap();
    assert_eq!(
        verified.iter().map(|signed| signed.key.name()).collect::<Vec<_>>(),
        ["PeterNeumann", "EnochRoot"]
    );
    // One who knows only Enoch ignores Peter, and the other way round.
    assert_eq!(both.verify(&keys[1..]).unwrap().len(), 1);
    assert_eq!(both.verify(&keys[..1]).unwrap().len(), 1);
    assert_eq!(note(SPEC_NOTE).verify(&[key(SPEC_VKEY)]).unwrap().len(), 1);
    assert_eq!(note(SPEC_NOTE).verify(&keys), Err(NoteError::Untrusted));
}

#[test]
fn checkpoints_of_running_logs_verify() {
    let go = note(GO_CHECKPOINT);
    let policy = Policy::new("go.sum database tree", vec![key(GO_VKEY)], vec![], 0).unwrap();
    let trusted = policy.open(&go).unwrap();
    assert_eq!(trusted.checkpoint.size(), 30_055_305);
    assert_eq!(trusted.checkpoint.text(), go.text());
    let arche = note(ARCHE_CHECKPOINT);
    let origin = "arche2025h1.staging.ct.transparency.dev";
    let policy = Policy::new(origin, vec![key(ARCHE_VKEY)], vec![key(REMORA_VKEY)], 1).unwrap();
    let trusted = policy.open(&arche).unwrap();
    assert_eq!(trusted.checkpoint.size(), 1_432_088_532);
    assert_eq!(trusted.witnesses, [("remora.n621.de".to_owned(), 1_779_573_024)]);
    // The signatures of four unknown keys are kept.
    assert_eq!(arche.signatures().len(), 6);
}

#[test]
fn the_specifications_example_is_read_and_written() {
    let example = note(SPEC_CHECKPOINT);
    let checkpoint = Checkpoint::parse(example.text()).unwrap();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size(), 20_852_163);
    assert_eq!(example.signatures()[1].key_id(), 0x8d66_cf3f);
    assert_eq!(example.verify(&[key(GO_VKEY)]), Err(NoteError::Untrusted));
}

#[test]
fn a_changed_text_or_signature_is_refused() {
    let keys = [key(GO_VKEY)];
    for (from, to) in [("30055305", "30055306"), ("mXfg", "mXfh"), ("go.sum", "go.sun")] {
        let changed = note(&GO_CHECKPOINT.replacen(from, to, 1));
        let refused = changed.verify(&keys);
        assert_eq!(refused, Err(NoteError::Invalid("sum.golang.org".to_owned())));
    }
    let go = note(GO_CHECKPOINT);
    let bytes = go.signatures()[0].bytes().to_vec();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let line = go.signatures()[0].to_string();
        let line = line.replace(
            &base64(&[&[0x03, 0x3d, 0xe0, 0xae], &bytes[..]].concat()),
            &base64(&[&[0x03, 0x3d, 0xe0, 0xae], &changed[..]].concat()),
        );
        let signature = Signature::parse(&line).unwrap();
        assert_eq!(key(GO_VKEY).verify(go.text(), &signature), None, "bit {bit}");
    }
    // The scalar plus the group's order is the same number again: a second signature that ring refuses.
    let mut second = bytes;
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10_u16,
    ];
    let mut carry = 0;
    for (byte, add) in second[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + add + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    let second = [&[0x03, 0x3d, 0xe0, 0xae], &second[..]].concat();
    let second = Signature::parse(&format!("— sum.golang.org {}", base64(&second))).unwrap();
    assert_eq!(key(GO_VKEY).verify(go.text(), &second), None);
}

/// Base64 by hand, so that tests do not use what they test.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(number >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { digit as char } else { '=' });
        }
    }
    text
}

#[test]
fn a_note_has_one_spelling() {
    let line = "— a/b Uw2QOkn8srV1yJGh2VYRlL1Tnag=";
    assert!(Note::parse(format!("text\n\n{line}\n").as_bytes()).is_ok());
    assert_eq!(note(&format!("x\n\ny\n\n\n{line}\n")).text(), "x\n\ny\n\n");
    let wrong = [
        String::new(),
        "\n".to_owned(),
        "text\n".to_owned(),
        "text\n\n".to_owned(),
        format!("text\n{line}\n"),
        format!("text\n\n{line}"),
        format!("text\n\n{line}\n\n"),
        format!("text\n\n{line}\n{line}\nmore\n"),
        format!("te\u{1}xt\n\n{line}\n"),
        format!("text\r\n\n{line}\n"),
        format!("te\txt\n\n{line}\n"),
        format!("{line}\n"),
        "text\n\n— a/b Uw2QOkn8srV1yJGh2VYRlL1Tnag\n".to_owned(),
        "text\n\n— a/b Uw2QOkn8srV1yJGh2VYRlL1Tnah=\n".to_owned(),
        "text\n\n— a/b Uw2Q_kn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        "text\n\n— a/b  Uw2QOkn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        "text\n\n— a/b Uw2QOg==\n".to_owned(),
        "text\n\n— a+b Uw2QOkn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        "text\n\n— a\u{a0}b Uw2QOkn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        "text\n\n—  Uw2QOkn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        "text\n\n- a/b Uw2QOkn8srV1yJGh2VYRlL1Tnag=\n".to_owned(),
        format!("text\n\n{}", format!("{line}\n").repeat(65)),
    ];
    for text in wrong {
        assert!(Note::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(Note::parse(b"text\xff\n\n").is_err());
    assert!(Note::parse(&vec![b'\n'; (1 << 20) + 1]).is_err());
    // Every verifier must take 16 signatures; we take 64.
    assert_eq!(note(&format!("text\n\n{}", format!("{line}\n").repeat(64))).signatures().len(), 64);
}

#[test]
fn what_is_not_a_key_is_refused() {
    let form = |key: &str| VerifierKey::parse(key).unwrap_err().to_string();
    expect!["not a key: it is not name+id+key"].assert_eq(&form("bananas.example+12344556"));
    expect!["not a key: its bytes are not base64"].assert_eq(&form("a+12345678+THIS_IS_NOT!"));
    expect!["no signature algorithm has the byte 0x03"].assert_eq(&form("a+12345678+AwEB"));
    expect!["not a key: its id is not eight hexadecimal digits"]
        .assert_eq(&form(&SPEC_VKEY.replace("530d903a", "530D903A")));
    expect!["the key's id is 530d903b, but its name and bytes have the id 530d903a"]
        .assert_eq(&form(&SPEC_VKEY.replace("530d903a", "530d903b")));
    expect!["the key's id is 530d903a, but its name and bytes have the id c6fb2e3e"]
        .assert_eq(&form(&SPEC_VKEY.replace("foo", "bar")));
    expect!["not a key: an Ed25519 key has 32 bytes"].assert_eq(&form("a+12345678+AQEB"));
    expect!["not a key: it is too long"].assert_eq(&form(&"a".repeat(5000)));
    expect!["not a key: its name is empty, too long, or has a blank or a plus"]
        .assert_eq(&form(&SPEC_VKEY.replace("example.com/foo", "")));
    assert!(Signer::parse(PETER_VKEY).is_err());
    assert!(Signer::parse(&PETER_SKEY.replace("c74f20a3", "c74f20a4")).is_err());
    assert!(Cosigner::parse(PETER_SKEY).is_err(), "a log's key does not cosign");
}

#[test]
fn keys_of_ml_dsa_are_known_and_refused() {
    let mut bytes = vec![0x06];
    bytes.resize(1 + 1312, 0xa5);
    let refused = VerifierKey::parse(&format!("witness.example+7118e8f9+{}", base64(&bytes)));
    assert_eq!(refused, Err(KeyError::NotSupported(Algorithm::MlDsa44Cosignature)));
    // Their signatures are lines like others: kept, and ignored.
    let long = base64(&vec![1; 4 + 8 + 2420]);
    let kept = note(&GO_CHECKPOINT.replacen("\n\n", &format!("\n\n— pq.example {long}\n"), 1));
    assert_eq!(kept.verify(&[key(GO_VKEY)]).unwrap().len(), 1);
}

#[test]
fn secrets_are_written_only_when_asked_for() {
    let seed = [3; 32];
    let signer = Signer::from_seed("log.example", &seed).unwrap();
    let skey = Signer::encode("log.example", &seed).unwrap();
    assert_eq!(Signer::parse(&skey).unwrap().verifier(), signer.verifier());
    let cosigner = Cosigner::from_seed("w.example", &seed).unwrap();
    let ckey = Cosigner::encode("w.example", &seed).unwrap();
    assert_eq!(Cosigner::parse(&ckey).unwrap().verifier(), cosigner.verifier());
    assert!(!format!("{signer:?}{cosigner:?}").contains(&base64(&seed)[..20]));
    expect!["Signer { pair: the private key of log.example+828499f6+Ae1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfR }"]
        .assert_eq(&format!("{signer:?}"));
    // One seed under two algorithms is two keys.
    assert_ne!(
        Cosigner::from_seed("log.example", &seed).unwrap().verifier().id(),
        signer.verifier().id()
    );
    assert_eq!(signer.sign("cosignature/v1\ntime 1\n"), Err(SignError::Cosignature));
    assert_eq!(signer.sign("no line end"), Err(SignError::Text));
    assert_eq!(signer.sign("a\u{0}b\n"), Err(SignError::Text));
}

#[test]
fn a_cosignature_binds_time_and_text() {
    let cosigner = Cosigner::from_seed("w.example", &[4; 32]).unwrap();
    let checkpoint = Checkpoint::new("log.example", 1, leaf_hash(b"entry")).unwrap();
    let signature = cosigner.cosign(&checkpoint, 1_679_315_147).unwrap();
    let verifier = cosigner.verifier();
    let at = verifier.verify(&checkpoint.text(), &signature);
    assert_eq!(at, Some(SignedAt::Time(1_679_315_147)));
    for bit in 0..signature.bytes().len() * 8 {
        let mut bytes = signature.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let whole = [&verifier.id().to_be_bytes(), &bytes[..]].concat();
        let changed = Signature::parse(&format!("— w.example {}", base64(&whole))).unwrap();
        assert_eq!(verifier.verify(&checkpoint.text(), &changed), None, "bit {bit}");
    }
    let other = Checkpoint::new("log.example", 2, leaf_hash(b"entry")).unwrap();
    assert_eq!(verifier.verify(&other.text(), &signature), None);
    assert_eq!(cosigner.cosign(&checkpoint, 1 << 63), Err(SignError::Time(1 << 63)));
    // The message is the specification's, so a plain Ed25519 key over that text signs the same bytes.
    let plain = Signer::from_seed("w.example", &[4; 32]).unwrap();
    assert_eq!(plain.verifier().public(), verifier.public());
}

#[test]
fn a_checkpoint_has_one_spelling() {
    let root = base64(&leaf_hash(b"").0);
    let text = format!("log.example\n1\n{root}\n");
    assert_eq!(Checkpoint::parse(&text).unwrap().text(), text);
    let extended = format!("{text}more\nand more\n");
    let parsed = Checkpoint::parse(&extended).unwrap();
    assert_eq!((parsed.text(), parsed.extensions().len()), (extended, 2));
    let empty = format!("log.example\n0\n{}\n", base64(&EMPTY_ROOT.0));
    assert_eq!(Checkpoint::parse(&empty).unwrap().size(), 0);
    let wrong = [
        String::new(),
        "\n\n\n".to_owned(),
        format!("log.example\n1\n{root}"),
        format!("\n1\n{root}\n"),
        "log.example\n1\n".to_owned(),
        format!("log.example\n01\n{root}\n"),
        format!("log.example\n+1\n{root}\n"),
        format!("log.example\n-1\n{root}\n"),
        format!("log.example\n 1\n{root}\n"),
        format!("log.example\n\n{root}\n"),
        format!("log.example\n9223372036854775808\n{root}\n"),
        format!("log.example\n99999999999999999999999\n{root}\n"),
        format!("log.example\n\u{0661}\n{root}\n"),
        format!("log.example\n0\n{root}\n"),
        format!("log.example\n1\n{}\n", &root[..43]),
        format!("log.example\n1\n{root}=\n"),
        format!("log.example\n1\n {root}\n"),
        format!("log.example\n1\n{}\n", base64(&[0; 31])),
        format!("log.example\n1\n{}\n", base64(&[0; 33])),
        format!("log.example\n1\n{root}\n\n"),
        format!("log.example\n1\n{root}\n\nmore\n"),
    ];
    for text in wrong {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
    assert!(Checkpoint::new("two\nlines", 1, EMPTY_ROOT).is_err());
    assert!(Checkpoint::new("log.example", 1 << 63, EMPTY_ROOT).is_err());
}

#[test]
fn a_policy_counts_each_witness_once() {
    let log = Signer::from_seed("log.example", &[1; 32]).unwrap();
    let cosigner =
        |seed: u8| Cosigner::from_seed(&format!("w{seed}.example"), &[seed; 32]).unwrap();
    let witnesses: Vec<Cosigner> = (2..=4).map(cosigner).collect();
    let keys: Vec<VerifierKey> = witnesses.iter().map(|w| w.verifier().clone()).collect();
    let checkpoint = Checkpoint::new("log.example", 1, leaf_hash(b"entry")).unwrap();
    let signed = |by: &[usize], log_signs: &[&Signer]| {
        let log = log_signs.iter().map(|signer| signer.sign_checkpoint(&checkpoint));
        let witnesses =
            by.iter().map(|i| witnesses[*i].cosign(&checkpoint, 10 + *i as u64).unwrap());
        Note::new(checkpoint.text(), log.chain(witnesses).collect()).unwrap()
    };
    let policy = |quorum| {
        Policy::new("log.example", vec![log.verifier().clone()], keys.clone(), quorum).unwrap()
    };
    assert_eq!(policy(2).open(&signed(&[0, 2], &[&log])).unwrap().witnesses.len(), 2);
    let short = TrustError::Quorum { quorum: 2, found: 1 };
    assert_eq!(policy(2).open(&signed(&[1, 1], &[&log])), Err(short.clone()));
    assert_eq!(policy(2).open(&signed(&[1], &[&log])), Err(short));
    assert_eq!(policy(2).open(&signed(&[0, 1, 2], &[])), Err(TrustError::Log));
    let other = Signer::from_seed("log.example", &[9; 32]).unwrap();
    let forged = policy(2).open(&signed(&[], &[&other]));
    assert_eq!(forged, Err(TrustError::Note(NoteError::Untrusted)));
    let elsewhere = Policy::new("other.example", vec![log.verifier().clone()], vec![], 0).unwrap();
    assert!(matches!(elsewhere.open(&signed(&[], &[&log])), Err(TrustError::Origin { .. })));
    // A witness under two names is one.
    let again = Cosigner::from_seed("again.example", &[2; 32]).unwrap();
    let twice = vec![keys[0].clone(), again.verifier().clone()];
    let refused = Policy::new("log.example", vec![log.verifier().clone()], twice, 2);
    assert_eq!(refused.unwrap_err(), TrustError::Policy);
    assert_eq!(
        Policy::new("log.example", vec![], keys.clone(), 1).unwrap_err(),
        TrustError::Policy
    );
    let unreachable = Policy::new("log.example", vec![log.verifier().clone()], keys, 4);
    assert_eq!(unreachable.unwrap_err(), TrustError::Policy);
}
