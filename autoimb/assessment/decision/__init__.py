"""Decision rules: conversion of class probabilities to labels."""
