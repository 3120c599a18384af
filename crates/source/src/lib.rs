//! Databases, files and streams become transactions.
