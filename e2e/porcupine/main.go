// Judges a record of operations (e2e/src/chaos/record.rs says what a line is) with porcupine, a checker of linearizability
// that knows nothing of Trivet: every key by itself, against a map with put, conditional put, add, delete and get.
//
// A write of unknown outcome is an operation that ends after all others: it may take effect at any time, also so late that
// nobody sees it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// How long one key may take; one that takes longer is not judged, and that is a failure.
const patience = 2 * time.Minute

type item struct {
	Value *uint64 `json:"value"`
	Count uint64  `json:"count"`
}

type line struct {
	Key     string  `json:"key"`
	Client  uint64  `json:"client"`
	Call    int64   `json:"call"`
	Return  *int64  `json:"return"`
	Op      string  `json:"op"`
	Value   uint64  `json:"value"`
	Expect  *uint64 `json:"expect"`
	Outcome string  `json:"outcome"`
	Item    *item   `json:"item"`
}

// The item of a key, in a form that can be compared. hasValue is false for an item that an add has made.
type state struct {
	present  bool
	hasValue bool
	value    uint64
	count    uint64
}

func stateOf(it *item) state {
	if it == nil {
		return state{}
	}
	s := state{present: true, count: it.Count}
	if it.Value != nil {
		s.hasValue, s.value = true, *it.Value
	}
	return s
}

// What the operation does to an item, and whether its condition holds.
func apply(s state, l line) (bool, state) {
	written := state{present: true, hasValue: true, value: l.Value}
	switch l.Op {
	case "put":
		return true, written
	case "put_if":
		holds := !s.present
		if l.Expect != nil {
			holds = s.hasValue && s.value == *l.Expect
		}
		if holds {
			return true, written
		}
		return false, s
	case "add":
		s.present = true
		s.count++
		return true, s
	case "delete":
		return true, state{}
	case "get":
		return true, s
	default:
		panic("unknown operation " + l.Op)
	}
}

func step(before, input, _ interface{}) (bool, interface{}) {
	s, l := before.(state), input.(line)
	done, after := apply(s, l)
	shown := s
	if l.Op == "add" {
		shown = after
	}
	switch l.Outcome {
	case "ok":
		return done && shown == stateOf(l.Item), after
	case "condition_failed":
		return !done && s == stateOf(l.Item), after
	case "unknown":
		return true, after
	default:
		panic("unknown outcome " + l.Outcome)
	}
}

func read(path string) (map[string][]porcupine.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	keys := map[string][]porcupine.Operation{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, err
		}
		end := int64(math.MaxInt64)
		if l.Return != nil {
			end = *l.Return
		}
		operations := keys[l.Key]
		keys[l.Key] = append(operations, porcupine.Operation{ClientId: len(operations), Input: l, Call: l.Call, Return: end})
	}
	return keys, lines.Err()
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: porcupine RECORD")
		os.Exit(2)
	}
	keys, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	model := porcupine.Model{Init: func() interface{} { return state{} }, Step: step}
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	sort.Strings(names)
	operations, bad := 0, 0
	for _, name := range names {
		operations += len(keys[name])
		if result := porcupine.CheckOperationsTimeout(model, keys[name], patience); result != porcupine.Ok {
			bad++
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, result)
		}
	}
	if bad > 0 || operations == 0 {
		fmt.Printf("%d of %d keys are not linearizable, %d operations\n", bad, len(names), operations)
		os.Exit(1)
	}
	fmt.Printf("ok, %d keys linearizable, %d operations\n", len(names), operations)
}
