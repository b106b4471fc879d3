//! What a conditional write answers, whatever the server: some tell `[applied]` alone when it was, others every column always.

use scylla::{
    response::query_result::QueryRowsResult,
    value::{CqlValue, Row},
};

use super::error::LedgerError;

/// What a conditional write on `owners` answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It was made.
    Applied,
    /// It was not; what stands there, as far as it was told.
    Refused {
        /// The epoch; `None` if there is no row.
        epoch: Option<i64>,
        /// The highest attempt.
        attempt: Option<i64>,
    },
}

/// Reads the answer by the names of its columns.
pub(super) fn said(rows: &QueryRowsResult) -> Result<Said, LedgerError> {
    let row = rows.first_row::<Row>().map_err(|cause| LedgerError::row("owners", cause))?;
    let names = rows.column_specs().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>();
    of_columns(names.iter().map(String::as_str).zip(row.columns.iter().map(Option::as_ref)))
}

fn of_columns<'a>(columns: impl Iterator<Item = (&'a str, Option<&'a CqlValue>)>) -> Result<Said, LedgerError> {
    let (mut applied, mut epoch, mut attempt) = (None, None, None);
    for (name, value) in columns {
        match name {
            "[applied]" => applied = value.and_then(CqlValue::as_boolean),
            "epoch" => epoch = value.and_then(CqlValue::as_bigint),
            "attempt" => attempt = value.and_then(CqlValue::as_bigint),
            _ => {}
        }
    }
    match applied {
        Some(true) => Ok(Said::Applied),
        Some(false) => Ok(Said::Refused { epoch, attempt }),
        None => Err(LedgerError::row("owners", "a conditional write does not say whether it was made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_answers_are_read() {
        let (yes, no) = (CqlValue::Boolean(true), CqlValue::Boolean(false));
        let (epoch, attempt, partition) = (CqlValue::BigInt(3), CqlValue::BigInt(9), CqlValue::Int(1));
        let read = |columns: &[(&'static str, Option<&CqlValue>)]| of_columns(columns.iter().copied());
        // Apache Cassandra.
        assert_eq!(read(&[("[applied]", Some(&yes))]), Ok(Said::Applied));
        let standing = Said::Refused { epoch: Some(3), attempt: Some(9) };
        assert_eq!(read(&[("[applied]", Some(&no)), ("attempt", Some(&attempt)), ("epoch", Some(&epoch))]), Ok(standing));
        assert_eq!(read(&[("[applied]", Some(&no))]), Ok(Said::Refused { epoch: None, attempt: None }));
        // ScyllaDB.
        let all = |applied, epoch| [("[applied]", Some(applied)), ("partition", Some(&partition)), ("attempt", None), ("epoch", epoch)];
        assert_eq!(read(&all(&yes, None)), Ok(Said::Applied));
        assert_eq!(read(&all(&yes, Some(&epoch))), Ok(Said::Applied));
        assert_eq!(read(&all(&no, Some(&epoch))), Ok(Said::Refused { epoch: Some(3), attempt: None }));
        // Neither.
        assert!(read(&[("epoch", Some(&epoch))]).is_err());
    }
}
