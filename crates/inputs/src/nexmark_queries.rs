//! Nexmark's queries, in our dialect: times are milliseconds, tumbling and hopping windows are groups by truncated times,
//! and `count_char` is counted by what a replacement removes.

use crate::queries::{Q3, Q4};

/// The queries by name, in order.
pub const NEXMARK: [(&str, &str); 18] = [
    ("q0", "select auction, bidder, price, date_time from bid"),
    ("q1", "select auction, bidder, 0.908 * price as price, date_time from bid"),
    ("q2", "select auction, price from bid where auction % 123 = 0"),
    ("q3", Q3),
    ("q4", Q4),
    ("q5", "with counts as (
                select b.auction, b.date_time / 2000 - hop.back as period, count(*) as num
                from bid b cross join (values (0), (1), (2), (3), (4)) as hop(back)
                group by b.auction, b.date_time / 2000 - hop.back
            )
            select c.auction, c.num from counts c
            join (select period, max(num) as most from counts group by period) m
            on c.period = m.period and c.num >= m.most"),
    ("q6", "select seller, avg(final) over (
                partition by seller order by date_time, id rows between 10 preceding and current row
            ) as mean
            from (
                select a.id, a.seller, b.price as final, b.date_time, row_number() over (
                    partition by a.id order by b.price desc, b.date_time, b.bidder
                ) as place
                from auction a join bid b on a.id = b.auction
                where b.date_time between a.date_time and a.expires
            ) as sold where place <= 1"),
    ("q7", "select b.auction, b.price, b.bidder, b.date_time from bid b
            join (select max(price) as most, date_time / 10000 as period from bid
                group by date_time / 10000) m
            on b.price = m.most and b.date_time / 10000 = m.period"),
    ("q8", "select p.id, p.name, p.period from
            (select distinct id, name, date_time / 10000 as period from person) p
            join (select distinct seller, date_time / 10000 as period from auction) a
            on p.id = a.seller and p.period = a.period"),
    ("q9", "select id, item_name, initial_bid, reserve, opened, expires, seller, category, auction,
                bidder, price, date_time from (
                select a.id, a.item_name, a.initial_bid, a.reserve, a.date_time as opened, a.expires,
                    a.seller, a.category, b.auction, b.bidder, b.price, b.date_time,
                    row_number() over (
                        partition by a.id order by b.price desc, b.date_time, b.bidder
                    ) as place
                from auction a join bid b on a.id = b.auction
                where b.date_time between a.date_time and a.expires
            ) as bids where place <= 1"),
    ("q14", "select auction, bidder, 0.908 * price as price,
                case when date_time / 3600000 % 24 between 8 and 18 then 'dayTime'
                    when date_time / 3600000 % 24 <= 6 or date_time / 3600000 % 24 >= 20
                    then 'nightTime' else 'otherTime' end as bid_time_type,
                date_time, length(url) - length(replace(url, 'c', '')) as c_counts
            from bid where 0.908 * price > 100000 and 0.908 * price < 900000"),
    ("q15", "select date_time / 86400000 as day, count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000)
                    as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000)
                    as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
            from bid group by date_time / 86400000"),
    ("q16", "select channel, date_time / 86400000 as day, max(date_time / 60000) as minute,
                count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000)
                    as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000)
                    as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
            from bid group by channel, date_time / 86400000"),
    ("q17", "select auction, date_time / 86400000 as day, count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                min(price) as min_price, max(price) as max_price, avg(price) as avg_price,
                sum(price) as sum_price
            from bid group by auction, date_time / 86400000"),
    ("q18", "select auction, bidder, price, channel, url, date_time from (
                select auction, bidder, price, channel, url, date_time, row_number() over (
                    partition by bidder, auction order by date_time desc, price, url
                ) as place from bid
            ) as bids where place <= 1"),
    ("q19", "select auction, bidder, price, channel, url, date_time, place from (
                select auction, bidder, price, channel, url, date_time, row_number() over (
                    partition by auction order by price desc, date_time, bidder, url
                ) as place from bid
            ) as bids where place <= 10"),
    ("q20", "select b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, a.item_name,
                a.initial_bid, a.reserve, a.date_time as opened, a.expires, a.seller, a.category
            from bid b join auction a on b.auction = a.id where a.category = 10"),
    ("q22", "select auction, bidder, price, channel, split_part(url, '/', 4) as dir1,
            split_part(url, '/', 5) as dir2, split_part(url, '/', 6) as dir3 from bid"),
];
