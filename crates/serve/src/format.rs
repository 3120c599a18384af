//! Rows in the format that the reader asked for, made a piece at a time while the reader takes them.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use change::Time;
use futures::stream;
use view::{json, text};

use crate::api::{LACKING_HEADER, Lacking, TIME_HEADER};
use crate::columns::{columns, renamed, with_unique_names};
use crate::error::RequestError;
use crate::limits::ENCODE_ROWS;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One object: [`crate::api::Rows`].
    Json,
    /// A row a line.
    Ndjson,
    /// A header and a row a line; NULL is an empty cell, an empty text is `""`.
    Csv,
    /// Arrow's IPC stream: types and values exactly as they are inside.
    Arrow,
}

/// Rows to answer with.
pub(crate) struct Answer {
    /// The Time that they are exact at.
    pub(crate) time: Time,
    /// Their columns.
    pub(crate) schema: SchemaRef,
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// How many there are in all, when these may be fewer.
    pub(crate) row_count: Option<u64>,
    /// The views that they come from and that lack rows.
    pub(crate) lacking: Vec<Lacking>,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow];

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// Chooses the format that the reader likes best; JSON when it does not say.
    ///
    /// # Errors
    /// When the reader takes none that we write.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self, RequestError> {
        let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Self::Json) };
        let accept = accept.to_str().unwrap_or_default();
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
            let weight: f32 = weight.parse().unwrap_or(0.0);
            let found = Self::ALL.into_iter().find(|format| matches(&kind, format.media_type()));
            if let Some(format) = found
                && weight > best.map_or(0.0, |(weight, _)| weight)
            {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format)
            .ok_or_else(|| RequestError::Accept { accept: accept.to_owned() })
    }

    /// Answers with the rows.
    ///
    /// # Errors
    /// When the columns cannot be written in this format.
    pub(crate) fn respond(self, answer: Answer) -> Result<Response, RequestError> {
        let time = HeaderValue::from(answer.time.0);
        let lacking = lacking_header(&answer.lacking);
        let schema = with_unique_names(&answer.schema);
        let writer = Writer::new(self, &answer, &schema)?;
        let body = Body::from_stream(pieces(writer, schema, answer.batches));
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type()));
        headers.insert(HeaderName::from_static(TIME_HEADER), time);
        if let Some(lacking) = lacking {
            headers.insert(HeaderName::from_static(LACKING_HEADER), lacking);
        }
        Ok(response)
    }
}

/// The views that lack rows as a header, which must be ASCII.
fn lacking_header(lacking: &[Lacking]) -> Option<HeaderValue> {
    if lacking.is_empty() {
        return None;
    }
    let counts: BTreeMap<&str, u64> =
        lacking.iter().map(|lacking| (lacking.view.as_str(), lacking.rows)).collect();
    let json = serde_json::to_string(&counts).expect("texts always serialize");
    let mut ascii = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() && byte != 0x7f => ascii.push(char::from(byte)),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    Some(HeaderValue::from_str(&ascii).expect("JSON escapes control characters"))
}

fn matches(range: &str, media_type: &str) -> bool {
    match range.strip_suffix('*') {
        Some("*/") => true,
        Some(prefix) => prefix.ends_with('/') && media_type.starts_with(prefix),
        None => range == media_type,
    }
}

/// The body: a head, the rows in pieces of bounded size, an end.
fn pieces(
    mut writer: Writer,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> impl futures::Stream<Item = Result<Bytes, ArrowError>> {
    let slices = batches.into_iter().flat_map(|batch| {
        let starts = (0..batch.num_rows()).step_by(ENCODE_ROWS);
        starts.map(move |start| batch.slice(start, ENCODE_ROWS.min(batch.num_rows() - start)))
    });
    let steps = slices.map(Some).chain([None]);
    stream::iter(steps.map(move |slice| match slice {
        Some(rows) => writer.rows(&renamed(&rows, &schema)?),
        None => writer.end(),
    }))
}

/// Writes rows in one format. What is written waits in `out` until it is taken.
struct Writer {
    out: Vec<u8>,
    form: Form,
}

enum Form {
    Json { began: bool },
    Ndjson,
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    fn new(format: Format, answer: &Answer, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let mut out = Vec::new();
        let form = match format {
            Format::Json => {
                out.extend(json_head(answer, schema).bytes());
                Form::Json { began: false }
            }
            Format::Ndjson => Form::Ndjson,
            Format::Csv => {
                text::csv_header(schema, &mut out);
                Form::Csv
            }
            Format::Arrow => Form::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        };
        Ok(Self { out, form })
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<Bytes, ArrowError> {
        match &mut self.form {
            Form::Json { began } => {
                let writer = json::RowWriter::new(rows);
                for row in 0..writer.len() {
                    if std::mem::replace(began, true) {
                        self.out.push(b',');
                    }
                    writer.row(row, &mut self.out);
                }
            }
            Form::Ndjson => json::write_lines(rows, &mut self.out),
            Form::Csv => {
                let writer = text::CellWriter::new(rows);
                for row in 0..writer.len() {
                    writer.csv_row(row, &mut self.out);
                }
            }
            Form::Arrow(writer) => {
                writer.write(rows)?;
                self.out = std::mem::take(writer.get_mut());
            }
        }
        Ok(std::mem::take(&mut self.out).into())
    }

    fn end(&mut self) -> Result<Bytes, ArrowError> {
        match &mut self.form {
            Form::Json { .. } => self.out.extend(b"]}"),
            Form::Ndjson | Form::Csv => {}
            Form::Arrow(writer) => {
                writer.finish()?;
                self.out = std::mem::take(writer.get_mut());
            }
        }
        Ok(std::mem::take(&mut self.out).into())
    }
}

fn json_head(answer: &Answer, schema: &SchemaRef) -> String {
    let columns = serde_json::to_string(&columns(schema)).expect("texts always serialize");
    let count = answer.row_count.map(|count| format!("\"row_count\":{count},")).unwrap_or_default();
    let lacking = match answer.lacking.as_slice() {
        [] => String::new(),
        lacking => {
            let lacking = serde_json::to_string(lacking).expect("texts always serialize");
            format!("\"lacking\":{lacking},")
        }
    };
    format!("{{\"time\":{},\"columns\":{columns},{lacking}{count}\"rows\":[", answer.time)
}

/// Cuts `[offset, offset + limit)` out of rows that come in batches.
pub(crate) fn window(batches: Vec<RecordBatch>, offset: usize, limit: usize) -> Vec<RecordBatch> {
    let (mut skip, mut left) = (offset, limit);
    let mut kept = Vec::new();
    for batch in batches {
        let start = skip.min(batch.num_rows());
        let length = left.min(batch.num_rows() - start);
        skip -= start;
        left -= length;
        if length > 0 {
            kept.push(batch.slice(start, length));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn accepted(accept: &'static str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Format::accepted(&headers).ok()
    }

    #[test]
    fn the_reader_chooses_the_format() {
        assert_eq!(Format::accepted(&HeaderMap::new()).unwrap(), Format::Json);
        assert_eq!(accepted("*/*"), Some(Format::Json));
        assert_eq!(accepted("text/*"), Some(Format::Csv));
        assert_eq!(accepted("text/html, */*;q=0.1"), Some(Format::Json));
        assert_eq!(accepted("application/json;q=0.5, application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(accepted("text/csv;q=0, image/png"), None);
    }

    #[test]
    fn what_views_lack_is_told_in_ascii() {
        let lacking = |view: &str| Lacking { view: view.to_owned(), rows: 2 };
        assert_eq!(lacking_header(&[]), None);
        let header = lacking_header(&[lacking("größe"), lacking("a\"\n\u{7f}")]).unwrap();
        assert_eq!(header, r#"{"a\"\n\u007f":2,"gr\u00f6\u00dfe":2}"#);
        let read: BTreeMap<String, u64> = serde_json::from_slice(header.as_bytes()).unwrap();
        assert_eq!(read.get("größe"), Some(&2));
    }

    #[test]
    fn a_window_spans_batches() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch = |from: i64, to: i64| {
            let column = Arc::new((from..to).collect::<Int64Array>());
            RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap()
        };
        let cut = window(vec![batch(0, 3), batch(3, 5), batch(5, 9)], 2, 4);
        let rows: Vec<i64> = cut
            .iter()
            .flat_map(|batch| {
                let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                column.values().to_vec()
            })
            .collect();
        assert_eq!(rows, [2, 3, 4, 5]);
    }
}
