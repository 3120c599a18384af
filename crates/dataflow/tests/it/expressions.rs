//! The expressions that are asked of Evert and PostgreSQL, and the arguments that they are asked with.

/// The columns of the arguments, and their types.
pub(crate) const COLUMNS: [(&str, &str); 22] = [
    ("t", "text"),
    ("u", "text"),
    ("n", "int"),
    ("i", "int"),
    ("m", "bigint"),
    ("x", "numeric(12,3)"),
    ("y", "numeric(12,3)"),
    ("f", "double precision"),
    ("g", "double precision"),
    ("d", "date"),
    ("e", "date"),
    ("ts", "timestamp"),
    ("tu", "timestamp"),
    ("tz", "timestamptz"),
    ("tm", "time"),
    ("iv", "interval"),
    ("b", "boolean"),
    ("c", "boolean"),
    ("li", "int[]"),
    ("lt", "text[]"),
    ("j", "text"),
    ("s", "smallint"),
];

/// Rows of arguments; `∅` is NULL.
#[rustfmt::skip]
pub(crate) const ARGUMENTS: &[[&str; 22]] = &[
    ["hello world", "o", "5", "2", "7000000000", "2.500", "0.750", "2.5", "0.5", "2024-02-29", "2023-12-31",
     "2024-02-29 12:34:56.789", "2023-12-31 23:59:59", "2024-02-29 12:34:56.789+02", "12:34:56.789", "1 day 02:03:04",
     "true", "false", "{1,2,3,2}", "{a,b,NULL,a}", r#"{"a": [1, 2.50, {"b": null}], "c": "x"}"#, "7"],
    ["Grüße, JÜRGEN o'neil", "ü", "-7", "0", "-3", "-2.500", "-1.250", "-2.5", "-1.5", "1969-07-20", "2024-03-31",
     "1969-07-20 20:17:40.000001", "2024-03-31 00:00:00", "1969-07-20 20:17:40+00", "00:00:00", "-1 mons +3 days -00:00:01.5",
     "false", "true", "{}", "{}", "[1, \"two\", null, true]", "-3"],
    ["  trim me  ", " ", "0", "1", "0", "0.000", "1.000", "0", "1", "2000-01-01", "2000-01-01",
     "2000-01-01 00:00:00", "1999-12-31 00:00:00", "2000-01-01 00:00:00+00", "23:59:59.999999", "00:00:00",
     "true", "true", "{NULL,4}", "{\"x y\",\"\"}", "\"text\"", "0"],
    ["", "", "1", "-1", "1", "1.005", "3.000", "1.5", "3.5", "2024-12-30", "2021-01-03",
     "2024-12-30 06:07:08", "2021-01-03 11:59:59.5", "2024-12-30 06:07:08.5-05", "06:07:08", "1 year 2 mons 40 days 30:00:00",
     "false", "false", "{-1}", "{z}", "12.50", "1"],
    ["a,b,,c", ",", "2147483647", "3", "9223372036854775807", "123456789.999", "0.001", "1e15", "1e-5", "0044-03-15 BC", "9999-12-31",
     "1900-03-01 01:02:03.000004", "2038-01-19 03:14:08", "2100-01-01 12:00:00+00", "01:02:03.000004", "-40 days",
     "∅", "true", "{5,6,7,8,9}", "{a,b,c,d}", "null", "32767"],
    ["AbC123xyz", "b", "-2147483648", "7", "-9223372036854775808", "-0.001", "10.000", "NaN", "Infinity", "2024-07-04", "2024-07-14",
     "2024-07-04 13:00:00", "2024-07-14 13:30:00", "2024-07-04 23:30:00+00", "13:00:00", "10:00:00",
     "false", "∅", "{3,1,2}", "{\"q\\\"uo\",\"b\\\\s\"}", r#"{"z": 1, "y": {"k": "v"}, "n": 12345678901234567890.10}"#, "-32768"],
    ["∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅", "∅"],
    ["x%_y\\z", "%", "42", "10", "1234567890123", "99.995", "-3.000", "-0.5", "2.5", "2020-02-29", "2019-02-28",
     "2020-02-29 23:59:59.999999", "2019-02-28 00:00:00.5", "2020-02-29 23:59:59.999999+00", "23:00:00", "3 days -01:00:00",
     "true", "false", "{10,20,30}", "{one,two}", r#"[[1,2],{"a":"ü\u0041"}]"#, "42"],
];

/// What both sides answer alike.
pub(crate) const SAME: &[&str] = &[
    // Text.
    "length(t)", "char_length(t)", "character_length(t)", "octet_length(t)", "bit_length(t)",
    "lower(t)", "upper(t)", "initcap(t)", "reverse(t)", "ascii(t)", "chr(abs(n % 1000) + 65)",
    "t || u", "t || n", "t || f", "t || x", "t || b", "t || d", "t || ts", "n || t", "concat(t, n, f, b)", "concat_ws('-', t, u, n)",
    "concat_ws(u, t, 'x', null)", "substring(t from 2 for 3)", "substring(t, 2)", "substring(t, i, 3)", "substr(t, -1, 4)", "substr(t, i)",
    "left(t, i)", "right(t, i)", "left(t, -2)", "right(t, -2)", "trim(t)", "ltrim(t)", "rtrim(t)", "btrim(t)",
    "btrim(t, 'hx ')", "ltrim(t, 'hx ')", "rtrim(t, 'dz ')", "trim(both u from t)", "trim(leading 'h' from t)", "trim(trailing 'd' from t)",
    "replace(t, u, '_')", "replace(t, '', 'x')", "translate(t, 'abo', 'AB')", "repeat(t, i)", "repeat(t, -1)", "lpad(t, 12, u)", "rpad(t, 12, u)",
    "lpad(t, 3)", "rpad(t, 3)", "lpad(t, 14)", "lpad(t, -1)", "split_part(t, u, 1)", "split_part(t, ',', 2)", "split_part(t, ',', -1)", "split_part(t, '', 1)",
    "strpos(t, u)", "position(u in t)", "position('' in t)", "overlay(t placing 'XX' from 2 for 1)", "overlay(t placing 'XX' from 2)",
    "starts_with(t, 'he')", "t like '%o%'", "t like u || '%'", "t ilike '%O%'", "t not like 'a%'", "t like 'x\\%%'", "t like 'x#%%' escape '#'",
    "t similar to '(a|h)%'", "t similar to '%[0-9]+%'", "t similar to 'hello'", "t ~ 'o'", "t ~ '^[a-z]+'", "t ~* 'B'", "t !~ 'o'", "t !~* 'O'", "t ~ '\\d'",
    "regexp_replace(t, 'o', '0')", "regexp_replace(t, 'o', '0', 'g')", "regexp_replace(t, '(l+)', '<\\1>', 'g')", "regexp_replace(t, '[aeiou]', '', 'gi')",
    "regexp_replace(t, 'O', '0', 'i')", "regexp_replace(t, '(.)(.)', '\\2\\1')", "regexp_replace(t, '$', '$1\\\\')", "regexp_replace(t, 'l', '\\&\\&', 'g')",
    "regexp_match(t, '(l+)(o)')", "regexp_match(t, 'l+')", "regexp_match(t, 'L+', 'i')", "regexp_like(t, 'o')", "regexp_like(t, 'O', 'i')", "regexp_count(t, 'l')", "regexp_count(t, 'L', 1, 'i')",
    "regexp_instr(t, 'o')", "regexp_instr(t, 'l', 1, 2)", "regexp_substr(t, 'l+')", "regexp_substr(t, '[a-z]', 1, 3)", "regexp_split_to_array(t, '[, ]+')", "regexp_split_to_array(t, '')",
    "string_to_array(t, u)", "string_to_array(t, ',')", "string_to_array(t, ',', '')", "string_to_array(t, null)", "string_to_array(t, '')",
    "to_hex(n)", "to_hex(m)", "md5(t)", "encode(sha256(convert_to(t, 'UTF8')), 'hex')", "encode(convert_to(t, 'UTF8'), 'base64')", "encode(convert_to(t, 'UTF8'), 'hex')", "encode(convert_to(t, 'UTF8'), 'escape')",
    "convert_from(decode('c3bc', 'hex'), 'UTF8')", "decode('aGk=', 'base64')", "quote_ident(t)", "quote_literal(t)", "quote_nullable(t)", "quote_literal(n)",
    "format('%s', t)", "format('%s and %s', n, u)", "format('%L %I %%', t, u)", "format('%2$s %1$s', t, u)", "format('%-10s|%5s', u, n)", "format('plain')",
    "t collate \"C\" < u",
    "t < u collate \"C\"", "t = u", "t <> u", "t is distinct from u", "coalesce(t, 'none')", "nullif(t, '')", "greatest(n, i, 3)", "least(n, i, 3)", "greatest(t, null)",
    "greatest(f, g)", "least(f, g)", "greatest(x, y)", "least(d, e)", "num_nulls(t, n, b)", "num_nonnulls(t, n, b)", "case when n > 0 then 'p' when n < 0 then 'm' else 'z' end",
    "case n when 5 then 'five' end", "t between 'a' and 'm'", "n between i and 10", "n between symmetric 10 and 0", "n in (1, 5, null)", "n not in (1, 5)",
    // Numbers.
    "n + i", "n - i", "n * i", "n / i", "n % i", "-n", "+n", "-m", "-s", "s + s", "s * s", "s / 2::smallint", "m + n", "m * 2", "m / -1", "m % -1", "abs(n)", "abs(m)", "abs(x)", "abs(f)", "abs(s)", "@ n", "@ f",
    "x + y", "x - y", "x * y", "round(x / y, 6)", "x % y", "-x", "x + n", "x * n", "x + f", "x > f", "n = x", "f + g", "f - g", "f * g", "f / g", "-f", "n + f", "1 / 3", "7 / -2", "-7 % 3", "round(1 / 3.0, 8)", "1.0 / 8", "5 / 2.0",
    "mod(n, 3)", "mod(x, y)", "mod(m, 10)", "mod(n, i)", "div(x, y)", "div(7, 2)", "div(-7.5, 2)", "ceil(x)", "ceiling(f)", "floor(x)", "floor(f)", "ceil(n)", "round(x)", "round(x, 1)", "round(x, 2)", "round(x, -1)", "round(f)", "round(g)", "round(n)",
    "round(x, i)", "round(2.5)", "round(-2.5)", "round(0.5::double precision)", "trunc(x)", "trunc(x, 1)", "trunc(x, -1)", "trunc(f)", "trunc(n)", "sign(x)", "sign(f)", "sign(n)", "sqrt(abs(x))", "sqrt(f)", "sqrt(2)", "cbrt(f)", "cbrt(27)",
    "power(f, g)", "power(x, 2)", "power(n, 2)", "power(2, 10)", "power(2, -1)", "2 ^ 3", "f ^ 2", "n ^ 2", "2 ^ 3 ^ 2", "-2 ^ 2", "exp(g)", "exp(y)", "exp(1)", "ln(abs(f) + 1)", "ln(x)", "ln(f)", "log(abs(f) + 1)", "log(x)", "log(2, 8)", "log(2.0, 64.0)", "log10(abs(f) + 1)",
    "pi()", "degrees(f)", "radians(f)", "sin(g)", "cos(g)", "tan(0.5)", "cot(0.5)", "asin(0.5)", "acos(0.5)", "atan(f)", "atan2(f, g)", "sinh(0.5)", "cosh(0.5)", "tanh(0.5)", "asinh(0.5)", "acosh(1.5)", "atanh(0.5)", "sind(30)", "cosd(60)", "tand(45)",
    "gcd(n, 6)", "lcm(i, 4)", "gcd(m, 12)", "factorial(i)", "width_bucket(x, 0, 10, 5)", "width_bucket(f, 0, 10, 5)", "scale(x)", "min_scale(x)", "trim_scale(x)", 
    "n & 6", "n | 6", "n # 6", "~n", "n << 2", "n >> 1", "m & 6", "m << 1", "|/ 16.0", "||/ 27.0", "f = 'NaN'", "f < g", "f <= g", "f <> g", "f is distinct from g", "f is not distinct from f", "f > 0.25", "f in (2.5, 'NaN')",
    // Casts.
    "n::text", "m::text", "x::text", "f::text", "(f / 3)::text", "f::real::text", "b::text", "d::text", "ts::text", "tz::text", "tm::text", "iv::text", "li::text", "lt::text", "array[b, c]::text", "array[f]::text", "array[ts]::text", "array[x]::text",
    "f::int", "g::int", "(f * 1)::bigint", "f::smallint", "x::int", "(x + 0.5)::int", "x::bigint", "x::smallint", "x::numeric(5,1)", "n::numeric(12,2)", "n::smallint", "m::int", "m::real", "x::double precision", "x::real", "n::boolean", "b::int", "true::int", "0::boolean",
    "'12'::int", "' 12 '::int", "'1e3'::double precision", "'infinity'::double precision", "'-inf'::double precision", "t::int", "u::int", "t::boolean", "'yes'::boolean", "'of'::boolean", "' tRue '::boolean", "'2024-02-29'::date", "'infinity'::date", "'2024-02-29 10:00'::timestamp",
    "'2024-02-29T10:00:00.1234567'::timestamp", "'2024-02-29 10:00:00+02'::timestamp", "'2024-02-29 10:00:00+02'::timestamptz", "'2024-02-29 10:00:00'::timestamptz", "'infinity'::timestamp", "'-infinity'::timestamptz", "'24:00:00'::time", "'10:30'::time", "'1.5'::numeric", "'1.2345'::numeric(10,2)", "'{1,2}'::int[]", "'{a,\"b c\",NULL}'::text[]", "'\\x00ff'::bytea", "'1 day 2 hours'::interval", "'1-2'::interval", "'P1Y2M3DT4H5M6S'::interval", "'-1 mon'::interval", "'1.5 days'::interval", "'01:02:03'::interval",
    "t::varchar(3)", "t::char(3) || '|'", "'abc'::char(5) = 'abc'", "n::varchar(3)", "d::timestamp", "d::timestamptz", "ts::date", "tz::date", "ts::time", "tz::time", "ts::timestamptz", "tz::timestamp", "tm::interval", "iv::time", "(i * 1.0)::text", "li::bigint[]", "li::text[]", "lt::varchar[]", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    // Dates and times.
    "d + 1", "d - 1", "1 + d", "d - e", "e - d", "d + i", "d - i", "d + iv", "d - iv", "d + tm", "d + interval '1 month'", "d - interval '1 day'", "ts + iv", "ts - iv", "ts - tu", "tu - ts", "tz - tz", "tz + iv", "tz - iv", "ts + interval '1 month'", "ts - interval '1 year 2 months'", "tm + iv", "tm - iv", "tm - tm", "tm - time '01:00'",
    "iv + iv", "iv - iv", "-iv", "iv * 2", "2 * iv", "iv * 1.5", "iv / 2", "iv * f", "iv = interval '1 day 02:03:04'", "iv < interval '1 month'", "iv > interval '30 days'", "interval '30 days' = interval '1 month'", "interval '24 hours' = interval '1 day'",
    "d < e", "d = ts", "d < tz", "ts < tu", "ts < tz", "ts = tz", "d between date '2000-01-01' and date '2024-06-30'", "(ts, tu) overlaps (tu, ts)", "greatest(ts, tu)",
    "extract(year from d)", "extract(month from ts)", "extract(day from ts)", "extract(hour from ts)", "extract(minute from ts)", "extract(second from ts)", "extract(milliseconds from ts)", "extract(microseconds from ts)", "extract(epoch from ts)", "extract(epoch from tz)", "extract(epoch from d)", "extract(dow from d)", "extract(isodow from d)", "extract(doy from d)", "extract(week from d)", "extract(isoyear from d)", "extract(quarter from d)", "extract(decade from d)", "extract(century from d)", "extract(millennium from d)", "extract(julian from d)", "extract(hour from tm)", "extract(second from tm)", "extract(epoch from tm)", "extract(epoch from iv)", "extract(day from iv)", "extract(hour from iv)", "extract(month from iv)", "extract(year from iv)", "extract(timezone from tz)",
    "date_part('year', d)", "date_part('second', ts)", "date_part('epoch', ts)", "date_part('dow', ts)", "date_part('week', ts)", "date_part('hour', tm)", "date_part('day', ts - tu)", "date_part('epoch', ts - tu)",
    "date_trunc('microseconds', ts)", "date_trunc('milliseconds', ts)", "date_trunc('second', ts)", "date_trunc('minute', ts)", "date_trunc('hour', ts)", "date_trunc('day', ts)", "date_trunc('week', ts)", "date_trunc('month', ts)", "date_trunc('quarter', ts)", "date_trunc('year', ts)", "date_trunc('decade', ts)", "date_trunc('century', ts)", "date_trunc('millennium', ts)", "date_trunc('day', tz)", "date_trunc('month', d)", "date_trunc('hour', iv)", "date_trunc('day', tz, 'Europe/Berlin')",
    "date_bin('15 minutes', ts, timestamp '2001-01-01')", "date_bin('1 day', tz, timestamptz '2001-01-01')", "date_bin('7 days', ts, tu)",
    "ts at time zone 'UTC'", "tz at time zone 'UTC'", "tz at time zone 'Europe/Berlin'", "ts at time zone 'America/New_York'",
    "age(ts, tu)", "age(tz, timestamptz '2000-01-01')", "age(d, e)", "justify_days(iv)", "justify_hours(iv)", "justify_interval(iv)", "make_date(2024, 2, i)", "make_time(10, i, 5.5)", "make_timestamp(2024, 2, i, 3, 4, 5.5)", "make_timestamptz(2024, 2, i, 3, 4, 5.5)", "make_interval(1, 2, 3, 4, 5, 6, 7.5)", "make_interval(days => i)", "isfinite(ts)", "isfinite(d)", "isfinite(iv)",
    "to_timestamp(f)", "to_timestamp(1700000000.5)", "to_timestamp(n)", "to_timestamp('2024-02-29 10:11:12', 'YYYY-MM-DD HH24:MI:SS')", "to_date('29 Feb 2024', 'DD Mon YYYY')", "to_date('20240229', 'YYYYMMDD')", "to_number('1,234.50', '9,999.99')",
    "to_char(ts, 'YYYY-MM-DD HH24:MI:SS')", "to_char(ts, 'FMDay, DD FMMonth YYYY')", "to_char(ts, 'Day Mon DY D ID DDD WW IW IYYY Q J')", "to_char(ts, 'HH12:MI AM US MS')", "to_char(d, 'YY/MM/DD')", "to_char(tz, 'YYYY-MM-DD\"T\"HH24:MI:SSOF')", "to_char(iv, 'DD HH24:MI:SS')", "to_char(n, '999,999')", "to_char(x, 'FM999990.00')", "to_char(x, '9999.99')", "to_char(n, '000')", "to_char(y::double precision, '99.99')", "to_char(n, 'S999')", "to_char(n, 'FMRN')", "to_char(ts, 'month')", "to_char(ts, 'DDth')",
    // Lists.
    "li[1]", "li[2]", "li[0]", "li[-1]", "li[99]", "li[2:3]", "li[:2]", "li[2:]", "lt[1]", "li[i]", "array_length(li, 1)", "array_length(lt, 1)", "array_length(li, 2)", "cardinality(li)", "cardinality(lt)", "array_ndims(li)", "array_dims(li)", "array_lower(li, 1)", "array_upper(li, 1)",
    "array_append(li, n)", "array_prepend(n, li)", "array_cat(li, li)", "array_position(li, 2)", "array_position(lt, 'a')", "array_position(lt, 'b', 2)", "array_positions(li, 2)", "array_positions(lt, 'a')", "array_position(lt, null)", "array_remove(li, 2)", "array_remove(lt, 'a')", "array_remove(lt, null)", "array_replace(li, 2, 9)", "array_replace(lt, 'a', 'q')", "array_replace(lt, null, 'q')", "array_to_string(li, ',')", "array_to_string(lt, ',')", "array_to_string(lt, ',', '*')", "array_to_string(lt, null)",
    "trim_array(li, 1)", "array_fill(7, array[3])", "array[1, n, 3]", "array[t, u]", "array[]::int[]", "li || li", "li || 4", "4 || li", "lt || 'x'::text", "li = li", "li = array[3,1,2]", "li @> array[2]", "li <@ array[1,2,3,2]", "li && array[3, 4]", "lt && array['a']", "n = any(li)", "2 = any(li)", "2 <> all(li)", "3 < any(li)", "n = any(array[1, 5, null])", "'a' = any(lt)", "n <> all(array[1, 5])",
    
    // JSON.
    "j::jsonb -> 'a' -> 1", "j::jsonb -> 'c'", "j::jsonb ->> 'c'", "j::jsonb ->> 'n'", "j::jsonb -> 1", "j::jsonb #> '{a,2,b}'", "j::jsonb #>> '{a,1}'", "j::jsonb #>> array['y','k']", "j::jsonb @> '{\"c\": \"x\"}'", "j::jsonb @> '[1]'", "'{\"c\": \"x\"}'::jsonb <@ j::jsonb", "j::jsonb ? 'a'", "j::jsonb ?| array['a', 'z']", "j::jsonb ?& array['a', 'c']", "j::jsonb = j::jsonb", "j::jsonb::text", "j::json::text", "j::jsonb || '{\"q\": 1}'::jsonb", "j::jsonb - 'a'", "j::jsonb - 0", "j::jsonb #- '{a,0}'",
    "json_typeof(j::json)", "jsonb_typeof(j::jsonb)", "jsonb_array_length(j::jsonb)", "json_array_length(j::json)", "json_extract_path_text(j::json, 'a', '1')", "jsonb_extract_path_text(j::jsonb, 'y', 'k')", "(j::jsonb -> 'a' -> 0)::int", "(j::jsonb ->> 'n')::numeric",
];

/// What is there, but answers otherwise, and why; `docs/sql.md` says so.
pub(crate) const OTHERWISE: &[(&str, &str)] = &[
    ("n / -1", "a whole number that is written is a bigint"),
    ("f::numeric", "a numeric holds no NaN"),
    ("j::json -> 'a'", "JSON is given without blanks between"),
    ("j::jsonb ->> -1", "a document that is no list has no elements"),
];

/// What PostgreSQL has and is refused here.
pub(crate) const GAPS: &[&str] = &[
    "unistr('\\0041x')",
    "parse_ident('a.b')",
    "normalize(t)",
    "bit_count(5::bigint::bit(8))",
    "li < array[2]",
    "jsonb_extract_path(j::jsonb, 'y', 'k')",
    "to_json(t)",
    "to_jsonb(n)",
    "json_build_object('a', n, 'b', t)",
    "jsonb_build_object('b', n, 'a', t)",
    "json_build_array(n, t, null)",
    "jsonb_build_array(n, t, null)",
    "jsonb_strip_nulls(j::jsonb)",
    "jsonb_set(j::jsonb, '{a}', '1')",
    "jsonb_pretty(j::jsonb)",
    "json_object('{a,1,b,2}')",
    "array_to_json(li)",
];
