module github.com/riposte-dev/riposte/test

go 1.25.0
