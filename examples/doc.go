// Package examples holds whole programs built on runnel; each is a folder with a smoke test.
package examples
