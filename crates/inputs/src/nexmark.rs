//! Nexmark: people, their auctions, and the bids on them.
//!
//! Of every 50 events one is a person, three are auctions and 46 are bids. Events are 100 microseconds apart; times are
//! milliseconds. Half of the bids go to the ten newest auctions, the others to the thousand newest.

use crate::Random;

const STATES: [&str; 6] = ["OR", "ID", "CA", "NY", "WA", "TX"];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Somebody who sells and bids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Counts from 1.
    pub id: i64,
    /// One of 10,000.
    pub name: String,
    /// One of a million.
    pub email: String,
    /// One of 500.
    pub city: String,
    /// One of six.
    pub state: &'static str,
    /// When the person came, in milliseconds.
    pub date_time: i64,
}

/// Something that is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auction {
    /// Counts from 1.
    pub id: i64,
    /// One of 100,000.
    pub item_name: String,
    /// What the first bid must be at least.
    pub initial_bid: i64,
    /// The price below which it is not sold.
    pub reserve: i64,
    /// When it began, in milliseconds.
    pub date_time: i64,
    /// When it ends, in milliseconds.
    pub expires: i64,
    /// The person who sells.
    pub seller: i64,
    /// 10 to 14.
    pub category: i64,
}

/// An offer in an auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    /// The auction.
    pub auction: i64,
    /// The person who offers.
    pub bidder: i64,
    /// What is offered.
    pub price: i64,
    /// Where the bidder came from.
    pub channel: &'static str,
    /// The page's number; [`url`](Self::url) has the whole address.
    pub page: u64,
    /// When it was made, in milliseconds.
    pub date_time: i64,
}

impl Bid {
    /// The address of the page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://www.nexmark.com/item/{:016x}/x.htm", self.page)
    }
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A person came.
    Person(Person),
    /// An auction began.
    Auction(Auction),
    /// A bid was made.
    Bid(Bid),
}

/// The events, one after the other, without end.
#[derive(Clone, Debug)]
pub struct Nexmark {
    random: Random,
    events: i64,
    people: i64,
    auctions: i64,
}

impl Nexmark {
    /// Begins at the first event.
    #[must_use]
    pub fn new() -> Self {
        Self { random: Random::new(0x9E37_79B9_7F4A_7C15), events: 0, people: 0, auctions: 0 }
    }

    fn person(&mut self, date_time: i64) -> Person {
        self.people += 1;
        let random = &mut self.random;
        Person {
            id: self.people,
            name: format!("name{}", random.below(10_000)),
            email: format!("u{}@example.com", random.below(1_000_000)),
            city: format!("city{}", random.below(500)),
            state: random.one_of(&STATES),
            date_time,
        }
    }

    fn auction(&mut self, date_time: i64) -> Auction {
        self.auctions += 1;
        let random = &mut self.random;
        Auction {
            id: self.auctions,
            item_name: format!("item {}", random.below(100_000)),
            initial_bid: random.int_below(1_000),
            reserve: random.int_below(10_000),
            date_time,
            expires: date_time + 100 + random.int_below(2_000),
            seller: 1 + random.int_below(self.people),
            category: 10 + random.int_below(5),
        }
    }

    fn bid(&mut self, date_time: i64) -> Bid {
        let random = &mut self.random;
        let newest = if random.below(2) == 0 { 10 } else { 1_000 };
        Bid {
            auction: (self.auctions - random.int_below(newest)).max(1),
            bidder: 1 + random.int_below(self.people),
            price: 100 + random.int_below(1_000_000),
            channel: random.one_of(&CHANNELS),
            page: random.any(),
            date_time,
        }
    }
}

impl Default for Nexmark {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Nexmark {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (number, date_time) = (self.events, self.events / 10);
        self.events += 1;
        Some(match number % 50 {
            0 => Event::Person(self.person(date_time)),
            1..=3 => Event::Auction(self.auction(date_time)),
            _ => Event::Bid(self.bid(date_time)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_in_every_run() {
        let mut events = Nexmark::new();
        let person = events.next().unwrap();
        let expected = Person {
            id: 1,
            name: "name4531".to_owned(),
            email: "u865004@example.com".to_owned(),
            city: "city245".to_owned(),
            state: "ID",
            date_time: 0,
        };
        assert_eq!(person, Event::Person(expected));
        let Event::Bid(bid) = Nexmark::new().nth(99_999).unwrap() else {
            panic!("the last of fifty events is a bid");
        };
        assert_eq!((bid.auction, bid.bidder, bid.price), (5_964, 799, 526_591));
        assert_eq!((bid.channel, bid.date_time), ("Apple", 9_999));
        assert_eq!(bid.url(), "https://www.nexmark.com/item/8941eb9bc4706db2/x.htm");
    }
}
