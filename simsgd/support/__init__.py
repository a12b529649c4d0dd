"""What every side of the library uses: checks of arguments, result files, named random streams, progress bars, units."""
