//! The four queries that all engines answer.

/// Bids in euro.
pub const Q1: &str = "select auction, bidder, price * 908 / 1000 as price, date_time from bid";

/// Who sells in some states and one category.
pub const Q3: &str = "select p.name, p.city, p.state, a.id
    from auction a join person p on a.seller = p.id
    where a.category = 10 and p.state in ('OR', 'ID', 'CA')";

/// The mean of the highest bids of each category.
pub const Q4: &str = "select category, avg(final) as final from (
        select a.id, a.category, max(b.price) as final
        from auction a join bid b on a.id = b.auction
        where b.date_time between a.date_time and a.expires
        group by a.id, a.category
    ) as closed group by category";

/// Orders counted and summed by the region of their customer.
pub const QC: &str = "select c.region, count(*) as n, sum(o.amount) as total
    from orders o join customers c on o.customer_id = c.id group by c.region";
