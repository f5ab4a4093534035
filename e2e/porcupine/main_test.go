package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/anishathalye/porcupine"
)

// Whether a record of one key is linearizable.
func judge(t *testing.T, lines string) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "record.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	model := porcupine.Model{Init: func() interface{} { return state{} }, Step: step}
	return porcupine.CheckOperations(model, keys["k"])
}

const put = `{"key":"k","client":1,"call":1,"return":2,"op":"put","value":7,"outcome":"ok","item":null}` + "\n"
const unsure = `{"key":"k","client":2,"call":3,"op":"add","outcome":"unknown"}` + "\n"

func TestWhatIsExplainedIsAccepted(t *testing.T) {
	seen := `{"key":"k","client":1,"call":4,"return":5,"op":"get","outcome":"ok","item":{"value":7,"count":0}}` + "\n"
	late := `{"key":"k","client":1,"call":6,"return":7,"op":"get","outcome":"ok","item":{"value":7,"count":1}}` + "\n"
	refused := `{"key":"k","client":1,"call":8,"return":9,"op":"put_if","expect":null,"value":9,"outcome":"condition_failed","item":{"value":7,"count":1}}` + "\n"
	if !judge(t, put+unsure+seen+late+refused) {
		t.Fatal("an unknown write may come late")
	}
}

func TestWhatNothingExplainsIsRefused(t *testing.T) {
	lost := `{"key":"k","client":1,"call":4,"return":5,"op":"get","outcome":"ok","item":null}` + "\n"
	if judge(t, put+lost) {
		t.Fatal("a lost write was accepted")
	}
	twice := `{"key":"k","client":1,"call":4,"return":5,"op":"get","outcome":"ok","item":{"value":7,"count":2}}` + "\n"
	if judge(t, put+unsure+twice) {
		t.Fatal("a write that counts twice was accepted")
	}
	held := `{"key":"k","client":1,"call":4,"return":5,"op":"put_if","expect":7,"value":9,"outcome":"condition_failed","item":{"value":7,"count":0}}` + "\n"
	if judge(t, put+held) {
		t.Fatal("a condition that held and failed was accepted")
	}
}
