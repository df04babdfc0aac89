package event

import "encoding/json"

// Codec turns payloads into bytes and back, for dead letters and bridges. Decode(Encode(v)) must give
// back v. An implementation is safe for concurrent use; Encode must not keep or change v.
type Codec[T any] interface {
	// Name is written beside the bytes, so that a reader knows how to take them: "json".
	Name() string
	Encode(T) ([]byte, error)
	Decode([]byte) (T, error)
}

// JSON is the default codec, encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Name() string { return "json" }

func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}
