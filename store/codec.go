package store

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// A value is one byte that names its format, 1, and a CBOR map with integer keys (RFC 8949, core deterministic encoding).
// A number is never used again for something else, and unknown ones are ignored, so that an older program can read the
// records of a newer one within a format. A time is a float of seconds since 1970 without a tag, exact to the microsecond:
// half a unit in the last place of a float64 is 0.12 µs in this century, and what is read is rounded. Zero times are left
// out or null.
const valueFormat = 1

// maxValue bounds a record, so that it fits into a commit. A session has about 700 bytes.
const maxValue = 512 << 10

// typicalValue is enough for most records.
const typicalValue = 1 << 10

// Bounds of what is decoded. Records are ours, but a broken disk may say anything.
const (
	maxElements = 1 << 16
	maxNesting  = 8
)

var (
	encoder = mustEncMode()
	decoder = mustDecMode()
)

func mustEncMode() cbor.UserBufferEncMode {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeUnixMicro
	mode, err := o.UserBufferEncMode()
	if err != nil {
		panic(err)
	}
	return mode
}

func mustDecMode() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		MaxNestedLevels:  maxNesting,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8DecodeInvalid, // a user agent may say anything, and must stay readable
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

// encode gives a record's value.
func encode[T any](record *T) ([]byte, error) {
	buffer := bytes.NewBuffer(make([]byte, 0, typicalValue))
	buffer.WriteByte(valueFormat)
	if err := encoder.MarshalToBuffer(record, buffer); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", record, err)
	}
	if buffer.Len() > maxValue {
		return nil, fmt.Errorf("%w: %T of %d bytes", ErrTooBig, record, buffer.Len())
	}
	return buffer.Bytes(), nil
}

// decode reads a record's value. times names the record's times, which are made exact and put in UTC.
func decode[T any](value []byte, times func(*T) []*time.Time) (*T, error) {
	record := new(T)
	if len(value) == 0 || value[0] != valueFormat {
		return nil, fmt.Errorf("%w: %T of an unknown format", ErrCorrupt, *record)
	}
	if err := decoder.Unmarshal(value[1:], record); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrCorrupt, *record, err)
	}
	if times == nil {
		return record, nil
	}
	for _, t := range times(record) {
		if !t.IsZero() {
			*t = t.Round(time.Microsecond).UTC()
		}
	}
	return record, nil
}
