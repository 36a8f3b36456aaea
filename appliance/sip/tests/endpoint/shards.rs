//! Every message of a call finds the same shard (spec: home shard is a function of the Call-ID).

use tandem_leg::LegEvent;
use tandem_sip::{Outcome, home_of_call_id, home_shard};

use crate::support::*;

const KEY: (u64, u64) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

fn shard(number: u8) -> Bench {
    let mut config = config();
    config.shard = number;
    config.shards = 2;
    config.shard_key = KEY;
    config.seed = [number + 1; 32];
    Bench::new(config)
}

#[test]
fn all_we_mint_names_its_shard() {
    for number in 0..2 {
        let mut bench = shard(number);
        let home = |text: &str| home_shard(text.as_bytes(), 2, KEY);
        for _ in 0..8 {
            let (leg, invite) = bench.outgoing(SDP_A);
            let mark = format!("{number:02x}-");
            assert!(invite.tag("From").starts_with(&format!("t{mark}")));
            assert!(invite.header("Via").contains(&format!("branch=z9hG4bK{mark}")));
            assert_eq!(home(&invite.text), Some(number));
            let ok = reply(&invite, 200, "tb", "", SDP_B);
            assert_eq!(home(&ok), Some(number));
            let compact = ok.replace("Call-ID: ", "i:");
            assert_eq!(home(&compact), Some(number));
            bench.feed(B, &compact);
            assert_eq!(home(&bench.expect("ACK").text), Some(number));
            bench.event();
            bench.order(leg, hang_up());
            let bye = bench.expect("BYE");
            assert_eq!(home(&bye.text), Some(number));
            bench.feed(B, &reply(&bye, 200, "", "", ""));
        }
        bench.nothing_left();
    }
}

#[test]
fn a_strangers_call_has_one_home_and_the_others_do_not_touch_it() {
    let mut both = [shard(0), shard(1)];
    let mut seen = [0; 2];
    for n in 0..40 {
        let name = format!("Call-ID: call-{n}@x");
        let invite = a_invite("z9hG4bKa1", 1, "", SDP_A).replace("Call-ID: call-a", &name);
        let home = home_shard(invite.as_bytes(), 2, KEY).unwrap();
        let compact = invite.replace("Call-ID: ", "I :\r\n ");
        assert_eq!(home_shard(compact.as_bytes(), 2, KEY), Some(home));
        assert_eq!(home_of_call_id(format!("call-{n}@x").as_bytes(), 2, KEY), home);
        seen[usize::from(home)] += 1;
        let other = &mut both[usize::from(1 - home)];
        assert_eq!(other.feed(A, &invite).outcome, Outcome::NotMine { shard: home });
        other.quiet();
        let mine = &mut both[usize::from(home)];
        mine.feed(A, &invite.replace("z9hG4bKa1", &format!("z9hG4bKa{n}")));
        mine.expect("SIP/2.0 100");
        let (leg, event) = mine.events.pop_front().unwrap();
        assert!(matches!(event, LegEvent::Try(_)));
        mine.order(leg, fail(404));
        let tag = mine.expect("SIP/2.0 404").tag("To");
        let ack = a_request("ACK", &format!("z9hG4bKa{n}"), 1, &tag, "", "").replace("Call-ID: call-a", &name);
        assert_eq!(mine.feed(A, &ack).outcome, Outcome::Request);
    }
    assert!(seen[0] > 5 && seen[1] > 5, "the hash spreads: {seen:?}");
    for bench in &mut both {
        bench.nothing_left();
    }
}

#[test]
fn a_call_id_that_claims_a_shard_we_do_not_have_is_hashed() {
    let id = b"tdmff-00000000000000000000000000000000";
    assert!(home_of_call_id(id, 2, KEY) < 2);
    assert_eq!(home_of_call_id(b"anything", 1, KEY), 0);
    assert_eq!(home_of_call_id(b"anything", 0, KEY), 0);
    assert_ne!(
        (0..64).map(|n: u8| home_of_call_id(&[n], 2, KEY)).collect::<Vec<_>>(),
        (0..64).map(|n: u8| home_of_call_id(&[n], 2, (1, 2))).collect::<Vec<_>>(),
        "the key matters"
    );
}
