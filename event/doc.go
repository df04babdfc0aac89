// Package event holds the nouns of runnel: what flows ([Event]), where it flows ([Topic]), who
// sends it ([Publisher]) and what brings it in from outside ([Source]).
//
// A topic is a typed name, declared once as a package variable and bound to no pipeline. It carries
// everything a publish must not forget: how the ordering key and the identity are read from a
// payload, and how a payload becomes bytes.
//
//	var Orders = event.NewTopic("orders",
//		event.KeyBy(func(o Order) string { return o.Customer }),
//		event.IDBy(func(o Order) string { return o.Number }))
//
// The package imports the standard library only.
package event
